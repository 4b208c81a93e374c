"""What a new kernel does with what the keeper kept: ports, pages and log pipes of children that lived on while no kernel was there.

The core has rebuilt its state from rows; here the descriptors are put back into the hands, everybody is greeted under the new epoch, and what belongs to nobody
is dropped. Greetings make the others repeat whatever the dead kernel may have read and not committed.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any

from dadms_ipc import port
from dadms_ipc.channel import adopt
from dadms_ipc.errors import HostFailure, PeerViolation
from dadmsd.keeper import messages as keeper
from dadmsd.kernel import proofs
from dadmsd.kernel.confine import group_of
from dadmsd.kernel.core.lifecycle import ALIVE, ENDED
from dadmsd.kernel.core.records import Child, Record
from dadmsd.kernel.core.state import PROBE, State
from dadmsd.kernel.hands import Hands
from dadmsd.kernel.host.processes import all_processes, family, look, send
from dadmsd.kernel.notify import Notify, path_of, remove_strays
from dadmsd.kernel.ports import Port
from dadmsd.worker import messages as worker
from dadmsd.worker.page import Page
from dadmsd.zygote import messages as zygote

OUTLIVED_SECONDS = 1.0  # that those of an earlier daemon have to be gone once they were sent SIGKILL

HELLO: dict[str, Any] = {"zygote": zygote.Hello(), "main": port.Hello(), "worker": worker.Hello(), "command": zygote.Hello()}


def end_outlived(rows: Iterable[Record]) -> None:
    """End what outlived an earlier daemon on this boot: its keeper and kernel died at once, and nobody is left to report the exits of these.

    Where there are cgroups their groups are cleared as well; here they are found by what the journal knows of them, their sessions and their children.
    """
    left = {row.os_pid: row.start_ticks for row in rows if isinstance(row, Child) and row.os_pid and row.phase in ALIVE}
    deadline = time.monotonic() + OUTLIVED_SECONDS
    while left and time.monotonic() < deadline and (members := family(all_processes(), {}, left)):
        with contextlib.suppress(PermissionError):  # it runs as another user, whom this daemon may not signal
            send(members.values(), signal.SIGKILL)
        time.sleep(0.005)  # they are nobody's children here: their end tells nobody


def adopt_children(state: State, hands: Hands, stored: list[tuple[str, list[int]]], watch: Callable[[Port], None]) -> None:
    """Put every stored descriptor where it belongs, and greet."""
    epoch = state.settings.epoch
    pages: dict[str, int] = {}
    for name, fds in stored:
        kind, _, what = name.removeprefix("v1/").partition("/")
        if name == "v1/zygote/base":
            hands.base = Port("base", "zygote", "", adopt(fds[0]), epoch=epoch)
        elif kind == "port" and what in state.children:
            child = state.children[what]
            hands.ports[what] = Port(what, child.wire_role, child.parent, adopt(fds[0]), epoch=epoch)
        elif kind == "page" and what in state.children:
            pages[what] = fds[0]
        elif kind == "notify" and what in state.children:
            hands.notify[what] = Notify(what, adopt(fds[0]), path_of(state.settings.runtime_dir, what))
        elif kind == "log" and len(fds) == 2 and log_is_wanted(state, what):
            hands.logs[what] = (fds[0], fds[1])
        else:
            for fd in fds:
                os.close(fd)
            hands.tell_keeper(keeper.Drop(name))
    for name, fd in pages.items():
        _give_page(hands, name, fd)
        if name in hands.ports:  # what ended while no kernel was there has ended, and does not run out of time now
            hands.found.extend(hands.ports[name].read_page())
    for child in state.children.values():
        _give_pidfd(hands, child)
        _regroup(state, hands, child)
    if hands.base is not None:
        watch(hands.base)
        hands.base.send(zygote.Hello())
    remove_strays(state.settings.runtime_dir, set(hands.notify))
    proofs.remove_strays(state.settings.runtime_dir, {child.name for child in state.children.values() if child.is_command})
    for spoken in hands.notify.values():
        hands.watch_notify(spoken)
    for held in hands.ports.values():
        watch(held)
        held.send(HELLO[held.role])
    known = {str(process.pid) for process in state.live_processes()}
    known |= {group_of(child) for child in state.children.values() if not child.pid}
    with contextlib.suppress(HostFailure):
        hands.confinement.clear_strangers(known)


def log_is_wanted(state: State, name: str) -> bool:
    """Tell whether somebody writes to a log, or will: the incarnation that is under way, or a child that lives. That of an earlier one is drained and closed."""
    if name.replace("-", "/") in state.children:
        return True
    pid, _, incarnation = name.partition(".")
    process = state.processes.get(int(pid)) if pid.isdigit() else None
    if process is None or process.status in ENDED:
        return False
    return incarnation.removesuffix(PROBE) == str(process.incarnation) or any(
        state.log_name(child) == name for child in state.owned(process.pid)
    )


def _give_page(hands: Hands, name: str, fd: int) -> None:
    held = hands.ports.get(name)
    if held is None:
        os.close(fd)
        return
    held.page_fd = fd
    try:
        held.page = Page.map(fd)
    except PeerViolation:
        held.is_unreadable = True  # of another version, or damaged: its worker ends as one that broke the protocol


def _give_pidfd(hands: Hands, child: Child) -> None:
    """Get a handle on a child that lives, without waiting for its zygote's report."""
    held = hands.ports.get(child.name)
    if held is None or child.phase not in ALIVE:
        return
    try:
        pidfd = os.pidfd_open(child.os_pid)
    except OSError:
        return
    seen = look(child.os_pid)
    if seen is not None and seen.start == child.start_ticks:
        held.pidfd = pidfd
    else:
        os.close(pidfd)


def _regroup(state: State, hands: Hands, child: Child) -> None:
    """Tell a backend without cgroups who belongs together. Where the host keeps that, only the room of a zygote may not have been made yet."""
    if hands.confinement.backend.outlives_kernels and (child.role != "zygote" or child.pid):
        return
    if child.phase in ("opened", "ready", "stopping", "killing"):
        with contextlib.suppress(Exception):  # it ended meanwhile; its exit is reported
            hands.confinement.confine(child, state.processes.get(child.pid))
