"""Waiting for processes, and what their end means for a person and for a script.

The daemon parks a Wait for at most a minute, so a longer one is asked again; a daemon that is being restarted meanwhile is a delay, not an error.

Who starts something (`start`, `restart`, `spawn --wait`) wants to hear of the first attempt that fails. Who only waits (`is_patient`) wants what was asked for: one that
waits to be started again may still become ready, and is waited for on.
"""

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from dadms_ipc.errors import DadmsError, DeadlinePassed
from dadms_ipc.requests import ProcessInfo, Wait
from dadmsctl.exits import Exit
from dadmsctl.terminal import one_line

if TYPE_CHECKING:
    from dadms_ipc.client import Client

PARKED = 30.0  # seconds that one Wait stays with the daemon: well under its limit of 60

SOON = 2.0  # seconds of waiting after which a person is told what for
AIMS = {"started": "has started", "ready": "is ready", "suspended": "stands still", "ended": "has ended"}

ENDED = {"completed": Exit.DONE, "failed": Exit.FAILED, "killed": Exit.FAILED, "stopped": Exit.FAILED}


STANDING = {"backoff": "in backoff"}  # statuses that are no adjective


class Teller:
    """Tells a person what is waited for, each process once and again whenever it stands otherwise."""

    def __init__(self, until: str) -> None:
        self._until = until
        self._told: dict[int, str] = {}

    def tell(self, process: ProcessInfo) -> None:
        """Say what keeps one."""
        stands = f"is {STANDING.get(process.status, process.status)}" + (f" ({process.suspension})" if process.suspension else "")
        why = ": ".join([stands, *(["; ".join(process.waits_for)] if process.waits_for else [])])
        if self._told.get(process.pid) != why:
            self._told[process.pid] = why
            click.echo(one_line(f'dadmsctl: waiting until "{process.name}" ({process.pid}) {AIMS[self._until]}: it {why}'), err=True)


def await_end(
    client: "Client",
    pid: int,
    *,
    until: str = "ended",
    timeout: float | None = None,
    teller: Teller | None = None,
    is_patient: bool = False,
) -> ProcessInfo:
    """Give the process once it is ``until`` ("started", "ready" or "ended"; the first two have come also where it waits to be started again, unless ``is_patient``); raises DeadlinePassed after ``timeout`` seconds (None: never)."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = PARKED if deadline is None else min(PARKED, max(0.0, deadline - time.monotonic()))
        found: ProcessInfo = client.call(Wait(pid, until=until, timeout=left, is_patient=is_patient))
        if has_come(found, until, is_patient=is_patient):
            return found
        if deadline is not None and time.monotonic() >= deadline:
            why = f": it {'; it '.join(found.waits_for)}" if found.is_stuck else ""
            raise DeadlinePassed(f'cannot wait longer for "{found.name}" ({pid}): it is still {found.status}{why}')
        if teller is not None:
            teller.tell(found)


def await_all(
    client: "Client",
    pids: Sequence[int],
    *,
    until: str = "ended",
    timeout: float | None = None,
    teller: Teller | None = None,
    is_patient: bool = False,
) -> Iterator[tuple[int, ProcessInfo | DadmsError]]:
    """Give each process as `await_end` does, or the error that it would raise; they are waited for together."""
    deadline = None if timeout is None else time.monotonic() + timeout

    def left() -> float:
        return PARKED if deadline is None else min(PARKED, max(0.0, deadline - time.monotonic()))

    first = min(left(), SOON) if teller is not None else left()
    answers = client.call_many(Wait(pid, until=until, timeout=min(first, left()), is_patient=is_patient) for pid in pids)
    for found in answers:
        if teller is not None and isinstance(found, ProcessInfo) and not has_come(found, until, is_patient=is_patient):
            teller.tell(found)
    for pid, found in zip(pids, answers, strict=True):
        if isinstance(found, DadmsError) or has_come(found, until, is_patient=is_patient):
            yield pid, found
            continue
        try:  # one that takes longer than a wait may be parked, or than there is time
            patience = None if deadline is None else max(0.0, deadline - time.monotonic())
            yield pid, await_end(client, pid, until=until, timeout=patience, teller=teller, is_patient=is_patient)
        except DadmsError as error:
            yield pid, error


def has_come(process: ProcessInfo, until: str, *, is_patient: bool = False) -> bool:
    """Tell whether a process is as it is waited for."""
    if process.status in ENDED:
        return True
    if until == "ended" or process.status == "stopping":
        return False
    if until == "suspended":
        return process.suspension == "frozen"
    if is_patient and process.status in ("backoff", "waiting"):
        return False
    if until == "started" and process.status == "waiting":
        return True
    return bool(process.starts_at) or process.status == "running" or (until == "started" and bool(process.started_at))


def exit_of(process: ProcessInfo) -> Exit:
    """Give the exit code that a process's state means; one that has not ended is as good as done."""
    return ENDED.get(process.status, Exit.DONE)


def sentence_of(process: ProcessInfo) -> str:
    """Say in one line how a process stands."""
    cause, reason = process.cause if process.cause != process.status else "", process.reason
    if process.status == "killed" and ", by " in cause:  # who did it is what one asks first
        how, _, who = cause.partition(", by ")
        cause = f"by {who}, {how}"
    why = why_of(cause, reason)
    return one_line(
        f'"{process.name}" ({process.pid}) {STANDING.get(process.status, process.status)}'
        + (f": {why}" if why and process.status != "completed" else "")
    )


def why_of(cause: str, reason: str) -> str:
    """Give cause and reason of an end, each where it says what the other does not."""
    return reason if cause in reason else cause if reason in cause else f"{cause}: {reason}"


def stuck_warning(process: ProcessInfo) -> str:
    """Say what a process waits for that does not come by itself; "" when it may come."""
    return one_line(f'warning: "{process.name}" ({process.pid}) waits: it {"; it ".join(process.waits_for)}') if process.is_stuck else ""
