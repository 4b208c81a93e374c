"""One process or the daemon on a screen: names on the left, values on the right."""

import shlex
import time
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dadms_ipc.requests import DaemonInfo, ProcessInfo
from dadmsctl.quantities import ago_text, bytes_text, cores_text, seconds_text
from dadmsctl.terminal import printable, table
from dadmsctl.values import view

SERVER_COLUMNS = ("SERVER", ">OS PID", ">RESTARTS", "LAST END")
PRESSURE_SHOWN = 1.0  # percent of the last ten seconds: less is nobody's trouble


def facts(pairs: Iterable[tuple[str, str]]) -> Table:
    """Lay out names and values; values that are empty are left out."""
    laid = Table.grid(padding=(0, 2))
    laid.add_column(style="bold", no_wrap=True)
    laid.add_column(overflow="fold")
    for name, value in pairs:
        if value:
            laid.add_row(name, Text(printable(value)))
    return laid


def of_process(process: ProcessInfo) -> RenderableType:
    """Show a process: state, threads, what it uses, and its limits as they were read back."""
    until = process.ended_at or time.time()
    pairs = [
        ("process", f"{process.pid} (incarnation {process.incarnation})"),
        ("name", process.name),
        ("kind", process.kind if process.kind != "orchestrator" else ""),
        ("orchestrator", process.orchestrator),
        ("command", shlex.join(process.command)),
        ("status", f"{process.status}, {process.suspension}" if process.suspension else process.status),
        ("known", "from the history: it has left the table" if process.is_past else ""),
        ("says", process.said),
        *(("waits", sentence) for sentence in process.waits_for),
        ("cause", process.cause),
        ("reason", process.reason),
        ("desired", process.desired if process.desired != "up" and not process.is_past else ""),
        (
            "starts again",
            f"in {seconds_text(process.starts_at - time.time())}, after {process.failures} in a row" if process.starts_at else "",
        ),
        ("checkpoint", f"{ago_text(process.checkpoint_at)} ago" if process.checkpoint_at else ""),
        ("exit code", "" if process.exit_code is None else str(process.exit_code)),
        ("OS pid", str(process.os_pid or "")),
        ("belongs to", str(process.parent or "")),
        ("user", f"uid {process.uid}"),
        ("group", process.group),
        ("age", "" if process.is_past or process.ended_at else ago_text(process.created_at)),
        (
            "lasted" if process.ended_at else "up for",
            ago_text(process.started_at, until) if process.started_at and not process.starts_at else "",
        ),
        ("restarts", str(process.incarnation - 1) if process.incarnation > 1 else ""),
        ("ended", f"{ago_text(process.ended_at)} ago" if process.ended_at else ""),
        ("ready after", ago_text(process.begun_at or process.created_at, process.ready_at) if process.ready_at else ""),
        (
            "memory",
            f"{bytes_text(process.memory)} now, {bytes_text(process.memory_peak)} at most" if process.memory_peak or process.memory else "",
        ),
        (
            "CPU",
            f"{process.cpu_seconds:.2f} s"
            + (f", {seconds_text(process.throttled_seconds)} held back by its limit" if process.throttled_seconds else ""),
        ),
        ("waiting for", ", ".join(f"{name} {percent:.0f} %" for name, percent in process.pressure.items() if percent >= PRESSURE_SHOWN)),
        ("tasks", str(process.pids or "")),
        ("workers", "" if process.is_past else str(process.workers)),
        (
            "threads",
            ""
            if process.is_past
            else f"{process.threads_running} running, {process.threads_waiting} waiting, {process.threads_done - process.threads_failed} done, {process.threads_failed} failed",
        ),
        ("keys", f"{process.keys_dropped} kept results gave way to newer ones" if process.keys_dropped else ""),
        *((f"limit {name}", value) for name, value in process.limits.items()),
        *(("warning", warning) for warning in process.warnings),
        ("log", process.log),
    ]
    if process.outcome is None:
        return facts(pairs)
    return Group(facts(pairs), Text("outcome", style="bold"), view(process.outcome))


def _machine(machine: dict[str, float]) -> str:
    if not machine:
        return ""
    memory, available = int(machine["memory"]), int(machine["memory_available"])
    return f"{cores_text(machine['cores'])}, {bytes_text(memory)} of memory, {bytes_text(available)} available, load {machine['load']:.2f}"


def _disk(daemon: DaemonInfo) -> str:
    """Show what is used, as of when: it is counted when room is asked for."""
    used = f"{bytes_text(daemon.disk_used) if daemon.disk_used else 'nothing'} used of {bytes_text(daemon.disk_limit)}"
    is_full = daemon.disk_used >= daemon.disk_limit
    return (
        used
        + (f", {ago_text(daemon.disk_looked_at)} ago" if daemon.disk_looked_at else "")
        + (": no process is started" if is_full else "")
    )


def of_daemon(daemon: DaemonInfo) -> RenderableType:
    """Show the daemon: its servers, and what its processes hold of the budget."""
    pairs = [
        ("dadmsd", f"{daemon.version}, epoch {daemon.epoch}" + (", private" if daemon.is_private else "")),
        ("up", ago_text(daemon.started_at)),
        ("kernel", f"OS pid {daemon.os_pid}"),
        ("runtime", daemon.runtime_dir),
        ("state", daemon.state_dir),
        ("limits", daemon.limits_backend),
        ("processes", str(daemon.processes)),
        ("threads", f"{daemon.threads_running} running in {daemon.slots} slots, {daemon.threads_ready} ready"),
        (
            "memory",
            f"{bytes_text(daemon.memory_reserved) if daemon.memory_reserved else 'nothing'} reserved of {bytes_text(daemon.memory_limit)}",
        ),
        ("disk", _disk(daemon)),
        ("keeps", f"nothing new: {daemon.unkept}" if daemon.unkept else ""),
        *(("gone", sentence) for sentence in daemon.gone),
        ("machine", _machine(daemon.machine)),
    ]
    servers = table(SERVER_COLUMNS, (_server(name, server) for name, server in daemon.servers.items()))
    servers.columns[-1].no_wrap, servers.columns[-1].overflow = False, "fold"  # a sentence, on a narrow terminal
    return Group(facts(pairs), "", servers)


def _server(name: str, server: dict[str, object]) -> tuple[str, ...]:
    """Show a server: which OS process it is, how often it was started again since the daemon was, and how the last one ended."""
    is_running = bool(server.get("running"))
    return name, str(server.get("os_pid") if is_running else "-"), str(server.get("restarts")), str(server.get("last_end") or "-")
