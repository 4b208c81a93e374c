"""Options that several commands share, and how a Door reaches a command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from dadmsctl.door import Door
from dadmsctl.quantities import LARGEST, cores, rates, seconds, size, size_or_zero

Command = TypeVar("Command", bound=Callable[..., Any])


class FileName(click.Path):
    """A path, which no name at all is not: it would mean the current directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what is empty."""
        if value == "":
            self.fail("it is empty, and names no file", param, ctx)
        return super().convert(value, param, ctx)


FILE = FileName(path_type=Path)
pass_door = click.make_pass_decorator(Door)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program instead of a table for a person.")


def limits(command: Command) -> Command:
    """Add the options that cap a process; their names are those of ``dadms_ipc.requests.Limits`` and ``Spec``, and ``best_effort`` (limits.py)."""
    for option in reversed(
        (
            click.option("--memory", type=size, help="Bytes that the process and its workers may use together, such as 1G; a hard cap."),
            click.option("--worker-memory", type=size, help="Bytes that each worker may use, such as 256M; a hard cap."),
            click.option("--cpu", type=cores, help="Cores that they may use together; 0.5 is half of one."),
            click.option("--pids", type=click.IntRange(1, LARGEST), help="OS processes and their threads that there may be."),
            click.option("--memory-high", type=size, help="Bytes above which they are slowed down, before anybody is killed (cgroup v2)."),
            click.option("--swap", type=size, help="Bytes of swap that they may use beside --memory. [none]"),
            click.option(
                "--cpu-weight", type=click.IntRange(1, 10_000), help="Their share against other processes when the CPU is short. [100]"
            ),
            click.option(
                "--io",
                type=rates,
                multiple=True,
                metavar="DEVICE:RATE=N,…",
                callback=lambda _context, _option, given: dict(given) or None,
                help="Reads and writes a second: read_bytes, write_bytes, read_ops, write_ops of a block device, or of the one that a path is on (cgroup v2).",
            ),
            click.option("--files", type=click.IntRange(1, LARGEST), help="Files that each OS process may have open. [1024]"),
            click.option("--core", type=size_or_zero, help="Bytes of a core dump. [0]"),
            click.option(
                "--memory-request", type=size_or_zero, help="Bytes that are reserved for it: refused where they are not free. [none]"
            ),
            click.option("--cpu-request", type=cores, help="Cores that are reserved for it. [none]"),
            click.option("--workers", type=click.IntRange(1, 256), help="OS processes that run its threads, at most. [4]"),
            click.option("--best-effort", is_flag=True, help="A limit that cannot be enforced is a warning and no error."),
            click.option("--thread-timeout", type=seconds, help="Seconds that a thread may run. [the daemon's configuration]"),
            click.option(
                "--ready-timeout", type=seconds, help="Seconds that the process has to become ready. [the daemon's configuration]"
            ),
        )
    ):
        command = option(command)
    return command
