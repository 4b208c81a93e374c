"""Calls over a port: what is repeated, what the kernel may forget, and what becomes of a lock that nobody waits for any more."""

import msgspec

from dadms_ipc import context
from dadms_ipc.calls import Calls
from dadms_ipc.context import Get, Held, Increment, Lock, Unlock
from dadms_ipc.port import ContextAnswer


def answer(sequence: int, value: object = None, status: str = "ok") -> ContextAnswer:
    return ContextAnswer(sequence, status, msgspec.Raw(msgspec.msgpack.encode(value)))


def test_a_call_is_repeated_until_it_is_answered_and_taken_once() -> None:
    calls = Calls()
    first, second = calls.ask(Get("r", "a"), tid=7), calls.ask(Increment("r", "n"), tid=8, pid=1002)
    assert (first.sequence, second.sequence, second.tid, second.pid) == (1, 2, 8, 1002)
    assert calls.repeat() == [first, second]
    assert calls.receive(answer(2, "two")) == []
    assert calls.repeat() == [first]
    assert calls.take(1) is None
    assert calls.take(2) == answer(2, "two")
    assert calls.take(2) is None
    assert calls.receive(answer(2, "again")) == []
    assert calls.take(2) is None, "it was had"


def test_seen_is_below_everything_that_is_waited_for() -> None:
    """Answers above it have to be kept by the kernel; what is repeated says it as it is then."""
    calls = Calls()
    assert [calls.ask(Get("r", "a")).seen for _ in range(3)] == [0, 0, 0]
    calls.receive(answer(1))
    calls.receive(answer(3))
    assert calls.ask(Get("r", "a")).seen == 1
    assert [(call.sequence, call.seen) for call in calls.repeat()] == [(2, 1), (4, 1)]
    for sequence in (2, 4):
        calls.receive(answer(sequence))
    assert calls.ask(Get("r", "a")).seen == 4


def test_a_lock_that_comes_too_late_is_given_back() -> None:
    calls = Calls()
    wanted = calls.ask(Lock("r", "l"), tid=7, pid=1002)
    calls.abandon(wanted.sequence)
    (back,) = calls.receive(answer(1, Held(41)))
    assert (back.operation, back.tid, back.pid) == (Unlock("r", "l", 41), 7, 1002)
    assert calls.take(1) is None
    assert calls.repeat() == [back], "it is repeated as any other"
    assert calls.receive(answer(back.sequence, context.Changed(41))) == []
    assert calls.take(back.sequence) is None
    assert calls.repeat() == []


def test_what_else_comes_too_late_is_dropped() -> None:
    calls = Calls()
    for operation, late in (
        (Lock("r", "l"), answer(1, {"message": "no"}, "expired")),
        (Increment("r", "n"), answer(2, context.Changed(1))),
    ):
        calls.abandon(calls.ask(operation).sequence)
        assert calls.receive(late) == []
        assert calls.take(late.sequence) is None
    calls.abandon(2)  # it has been answered: nothing is abandoned
    assert calls.ask(Get("r", "a")).seen == 2
