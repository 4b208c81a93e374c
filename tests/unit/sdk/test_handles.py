"""Threads created one by one: which travel together, and what their handles tell."""

from array import array

import msgspec
import pytest

from dadms_ipc import port
from dadms_ipc.errors import PeerViolation, RequestRefused
from dadms_orchestrators.sdk.handles import TRAVEL_MOST, Handle, ThreadFailed
from dadms_orchestrators.sdk.session import Session

NIL = msgspec.Raw(b"\xc0")


def create(session: Session, entry: str = "work", *, count: int = 1, label: str = "", timeout: float | None = None) -> list[Handle]:
    handles = []
    for number in range(count):
        submission = session.place(entry, timeout)
        handles.append(Handle(submission, submission.add(msgspec.msgpack.encode(number), label)))
    return handles


def column(*seconds: float) -> bytes:
    return array("f", seconds).tobytes()


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(value))


def sent(session: Session) -> list[tuple[int, list[object]]]:
    messages = [message for message in session.advance() if isinstance(message, port.PackedSubmit)]
    return [(message.sequence, msgspec.msgpack.decode(message.arguments)) for message in messages]


def test_threads_created_while_a_submission_is_under_way_travel_together() -> None:
    session = Session()
    create(session)
    assert sent(session) == [(1, [0])]
    create(session, count=3)
    assert sent(session) == []
    _, messages = session.receive(port.Accepted(1, 1001))
    assert [(message.sequence, message.arguments) for message in messages if isinstance(message, port.PackedSubmit)] == [
        (2, msgspec.Raw(b"\xdd\x00\x00\x00\x03\x00\x01\x02"))
    ]


def test_threads_of_another_entry_or_time_out_travel_alone() -> None:
    session = Session()
    handles = create(session) + create(session, "other") + create(session, timeout=3.0) + create(session, count=2)
    assert [handle.place for handle in handles] == [(1, 0), (2, 0), (3, 0), (4, 0), (4, 1)]


def test_a_submission_takes_as_many_as_the_kernel_does() -> None:
    handles = create(Session(), count=TRAVEL_MOST + 1)
    assert handles[-2].place == (1, TRAVEL_MOST - 1)
    assert handles[-1].place == (2, 0)


def test_labels_are_one_a_thread_or_none() -> None:
    session = Session()
    create(session)
    create(session, label="second")
    create(session)
    (message,) = session.advance()
    assert isinstance(message, port.PackedSubmit)
    assert message.labels == ["", "second", ""]


def test_a_run_and_results_fill_the_column() -> None:
    session = Session()
    one, two, three, four = create(session, count=4)
    session.advance()
    session.receive(port.Accepted(1, 50))
    assert (one.tid, four.tid, one.status) == (50, 53, "open")
    failed = port.Result(53, "error", NIL, "exception", "ValueError", "no")
    assert session.receive(port.Finished(3, [failed], [port.Run(51, [raw("b"), raw("c")], column(0.1, 0.2))])) == ([], [])
    assert (two.value(), three.value(), one.has_ended) == ("b", "c", False)
    with pytest.raises(ThreadFailed, match="thread 53 ended as error: ValueError: no"):
        four.value()
    with pytest.raises(RequestRefused, match="thread 50: it has not ended"):
        one.value()
    assert session.open_threads == 1
    session.receive(port.Finished(4, [port.Result(50, "completed", raw("a"))]))
    assert (one.value(), one.status, session.open_threads) == ("a", "completed", 0)


@pytest.mark.usefixtures("says_at_once")
def test_a_repeated_run_is_had_once() -> None:
    session = Session()
    one, two = create(session, count=2)
    session.advance()
    session.receive(port.Accepted(1, 50))
    delivery = port.Finished(2, [], [port.Run(50, [raw(1), raw(2)], column(0.1, 0.2))])
    session.receive(delivery)
    assert session.seen() == [port.Seen(2)]
    assert session.receive(delivery) == ([], [port.Seen(2)])
    assert (one.value(), two.value()) == (1, 2)


def test_a_run_that_overtakes_the_answer_waits_for_it() -> None:
    session = Session()
    (first,) = create(session)
    session.advance()
    assert session.receive(port.Finished(1, [], [port.Run(50, [raw(1)], column(0.1))])) == ([], [])
    assert (first.has_ended, session.seen()) == (False, [])
    session.receive(port.Accepted(1, 50))
    assert first.value() == 1


@pytest.mark.parametrize("run", [port.Run(49, [NIL], column(0.0)), port.Run(51, [NIL, NIL], column(0.0, 0.0))])
def test_a_run_of_threads_that_are_not_open_is_a_violation(run: port.Run) -> None:
    session = Session()
    create(session, count=2)
    session.advance()
    session.receive(port.Accepted(1, 50))
    with pytest.raises(PeerViolation):
        session.receive(port.Finished(len(run.values), [], [run]))


def test_a_refused_submission_is_told_by_each_handle() -> None:
    session = Session()
    handles = create(session, count=2)
    session.advance()
    assert session.receive(port.Refused(1, "cannot submit 2 threads: the queue is full"))[0] == []
    assert [handle.status for handle in handles] == ["refused", "refused"]
    with pytest.raises(RequestRefused, match="the queue is full"):
        handles[0].value()


def test_a_run_of_a_plain_submission_is_an_event_a_thread() -> None:
    session = Session()
    session.submit("work", [NIL, NIL])
    session.receive(port.Accepted(1, 50))
    events, _ = session.receive(port.Finished(2, [], [port.Run(50, [raw(1), raw(2)], column(0.5, 0.2), 3, 99, 10.0)]))
    assert [(each.index, each.value, each.result.started_at) for each in events] == [(0, 1, 10.0), (1, 2, 10.5)]  # type: ignore[attr-defined] # all are ThreadEnded
