"""An orchestrator for tests: threads with idempotency keys, and one that fails until its last attempt. Each begin is a line in a ledger."""

import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from dadms_orchestrators.contract import Orchestrator, Thread
from dadms_orchestrators.entries import Retry, thread
from dadms_orchestrators.sdk.groups import GroupFailed
from dadms_orchestrators.sdk.process import Process

PAUSE = 0.6  # seconds between two attempts


def _note(ledger: str, word: str) -> None:
    fd = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
    os.write(fd, f"{word} {time.monotonic():.3f}\n".encode())
    os.close(fd)


@thread
def line(number: int, *, me: Thread) -> int:
    """Leave a line, and take a little time over it."""
    _note(me.config["ledger"], f"{number}")
    time.sleep(0.002)
    return number * number


@thread(retry=Retry(attempts=3, backoff="fixed", delay=PAUSE, jitter=0.0, on=("worker_lost", "NotYet")))
def flaky(*, me: Thread) -> str:
    """Lose the worker first, then raise, then return."""
    ledger = me.config["ledger"]
    _note(ledger, "flaky")
    count = Path(ledger).read_text().count("flaky")
    if count == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if count == 2:
        raise NotYet("not yet")
    return "at last"


class NotYet(Exception):
    """What the policy names."""


@thread
def nap(seconds: float, *, fails: bool = False) -> float:
    """Sleep, and raise where that is asked for."""
    time.sleep(seconds)
    if fails:
        raise NotYet("it was to fail")
    return seconds


@thread
def polite(until: str, *, me: Thread) -> int:
    """Compute, giving way after each step, until the ledger has this word."""
    ledger = me.config["ledger"]
    _note(ledger, "polite")
    steps, end = 0, time.monotonic() + 30.0
    while until not in Path(ledger).read_text() and time.monotonic() < end:
        sum(range(10_000))
        steps += 1
        me.yield_()
    _note(ledger, "polite-done")
    return steps


@thread
def slow(seconds: float, *, me: Thread) -> float:
    """Leave a word at the end."""
    _note(me.config["ledger"], "begun-slow")
    time.sleep(seconds)
    _note(me.config["ledger"], "slow-done")
    return seconds


def _run_team(process: Process, naps: list[dict[str, Any]], *, cancels: bool) -> None:
    """Run threads as a group."""
    failures: list[str] = []
    try:
        with process.group("team", cancel_on_failure=cancels) as team:
            for each in naps:
                team.create("nap", each)
    except GroupFailed as error:
        failures = [str(failure) for failure in error.failures]
    process.outcome(
        "completed", {"failures": failures, "statuses": [handle.status for handle in team.handles], "progress": list(team.progress())}
    )


def run(process: Process) -> None:
    """Submit what the configuration says, all of it in each incarnation."""
    process.ready(ORCHESTRATOR.entries)
    config: dict[str, Any] = process.config
    if "team" in config:
        _run_team(process, config["team"], cancels=config.get("cancels", False))
        return
    if config.get("polite"):
        pair = [process.create("polite", {"until": "slow-done"}), process.create("slow", {"seconds": config["polite"]})]
        if process.wait(pair):
            process.outcome("completed", {"values": [handle.value() for handle in pair]})
        return
    handles = [process.create("line", {"number": number}, key=f"line {number}") for number in range(config.get("lines", 0))]
    if config.get("flaky"):
        handles.append(process.create("flaky"))
    if not process.wait(handles):
        return
    process.outcome(
        "completed",
        {
            "statuses": dict(Counter(handle.status for handle in handles)),
            "repeated": sum(handle.is_repeated for handle in handles),
            "values": [handle.value() for handle in handles if handle.status == "completed"],
            "attempts": handles[-1].attempts,
        },
    )


ORCHESTRATOR = Orchestrator(name="again", version="1", run=run, entries=[line, flaky, nap, polite, slow])
