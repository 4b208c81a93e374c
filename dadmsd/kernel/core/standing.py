"""What every request stands on: who it is about, whose that is, and the answer that is given once."""

import difflib

import msgspec

from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.lives import HAS_ENDED
from dadmsd.kernel.core.records import Answered, Life, Process
from dadmsd.kernel.core.state import REPLY_RETENTION, Address, State

WAIT_MOST = 60.0  # seconds that a request may be parked: the client asks again
ANSWERED_MOST = 20_000  # replies kept for retries: a flood of requests drops the oldest before their time


class Refusal(Exception):
    """Ends the handling of a request with a sentence for the client; nothing was changed."""


def find_past(state: State, pid: int) -> Life | None:
    """Give the last life of a process that has left the table, None of one that is there or never was."""
    return state.lives.last(pid) if pid not in state.processes else None


def find(state: State, pid: int) -> Process:
    """Give a process of the table; raises Refusal."""
    process = state.processes.get(pid)
    if process is None:
        last = state.lives.last(pid)
        if last is not None:
            raise Refusal(f"process {pid} has left the table: it {HAS_ENDED[last.status]} ({last.cause}); its history is kept")
        near = difflib.get_close_matches(str(pid), [str(each) for each in state.processes], 1)
        hint = f"; there is {near[0]}" if near else ""
        raise Refusal(f"no process {pid}{hint}")
    return process


def owned(state: State, event: events.RequestArrived, process: Process | Life, verb: str) -> None:
    """Refuse what is another user's: only the daemon's own user and root may touch everybody's."""
    if event.uid not in (0, state.settings.uid, process.uid):
        name = process.name if isinstance(process, Life) else process.spec.name
        raise Refusal(f'cannot {verb} {process.pid} ("{name}"): it belongs to user {process.uid}, {event.origin} is not')


def patience_of(state: State, event: events.RequestArrived, seconds: float) -> float:
    """Give until when a request may be parked that asks for so many seconds: never for longer than its client waits."""
    end = state.now + max(0.0, min(WAIT_MOST, seconds))
    return min(end, event.deadline) if event.deadline else end


def settle(state: State, key: Address, answer: object) -> None:
    """Answer a mutating request for good: a retry gets the same."""
    body, until = msgspec.msgpack.encode(answer), state.now + REPLY_RETENTION
    answered = Answered(client=key[0], sequence=key[1], at=state.wall, status="ok", body=body, until=until)
    state.answered[key] = answered
    state.changed(answered)
    if len(state.answered) > ANSWERED_MOST:
        state.deleted(state.answered.pop(next(iter(state.answered))))
    state.arm(until, "answered", "")
    state.do(effects.Reply(*key, "ok", answer))


def take_up_answers(state: State, rows: list[Answered], *, is_interrupted: bool) -> None:
    """Go on keeping the answers of an earlier kernel; those of another boot, whose steady clock was another, for all of their time again."""
    for answered in sorted(rows, key=lambda each: (each.until, each.at)):
        if is_interrupted or not answered.until:
            answered.until = state.now + REPLY_RETENTION
            state.changed(answered)
        state.answered[answered.client, answered.sequence] = answered
    state.arm(state.now, "answered", "")
