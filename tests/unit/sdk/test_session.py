"""The process's side of the port as lists of messages: what is repeated, what is dropped, what waits."""

import msgspec
import pytest

from dadms_ipc import port
from dadms_ipc.errors import InternalError, PeerViolation
from dadms_orchestrators.sdk.session import (
    UNSAID_BYTES,
    UNSAID_MOST,
    Accepted,
    OutcomeRecorded,
    Refused,
    Session,
    StopRequested,
    ThreadEnded,
)


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(value))


def result(tid: int, value: object = None, status: str = "completed") -> port.Result:
    return port.Result(tid, status, raw(value))


def submitted(session: Session, count: int = 1, entry: str = "e") -> int:
    """Submit, and take the ticket only."""
    return session.submit(entry, [raw(index) for index in range(count)])[0]


def ends(session: Session, message: port.ToProcess) -> list[ThreadEnded]:
    return [event for event in session.receive(message)[0] if isinstance(event, ThreadEnded)]


def test_results_carry_ticket_and_index_of_their_argument() -> None:
    session = Session()
    ticket = submitted(session, 3)
    assert session.receive(port.Accepted(ticket, 7)) == ([Accepted(ticket, [7, 8, 9])], [])
    (end,) = ends(session, port.Finished(1, [result(8, "two")]))
    assert (end.ticket, end.index, end.value, end.is_completed) == (ticket, 1, "two", True)
    assert session.open_threads == 2


def test_results_may_be_the_answer_as_well() -> None:
    """Accepted, then ended; repeated, neither is taken twice."""
    session = Session()
    ticket = submitted(session, 2)
    second, _ = session.submit("b", [raw(1)])
    finished = port.Finished(1, [result(7, "one")], submission=ticket, first_tid=7)
    events, sent = session.receive(finished)
    assert events[0] == Accepted(ticket, [7, 8])
    assert [(end.ticket, end.index, end.value) for end in events[1:] if isinstance(end, ThreadEnded)] == [(ticket, 0, "one")]
    assert [message.sequence for message in sent if isinstance(message, port.PackedSubmit)] == [second]
    assert session.receive(finished)[0] == []
    assert session.open_threads == 2


def test_second_submission_waits_for_the_answer_to_the_first() -> None:
    session = Session()
    first, sent = session.submit("a", [raw(1)])
    second, held = session.submit("b", [raw(2)])
    assert [type(message) for message in sent] == [port.PackedSubmit]
    assert held == []
    _, sent = session.receive(port.Accepted(first, 1))
    assert [message.sequence for message in sent if isinstance(message, port.PackedSubmit)] == [second]
    assert session.open_threads == 2


def test_refused_submission_lets_the_next_go() -> None:
    session = Session()
    first, second = submitted(session), submitted(session)
    events, sent = session.receive(port.Refused(first, "no"))
    assert events == [Refused(first, "no")]
    assert [message.sequence for message in sent if isinstance(message, port.PackedSubmit)] == [second]


def test_hello_repeats_what_was_not_answered_and_nothing_else() -> None:
    session = Session()
    ready = session.ready(["e"])
    first = submitted(session)
    session.receive(port.Accepted(first, 1))
    second, sent = session.submit("e", [raw(2)], ["label"], 3.0)
    assert session.receive(port.Hello()) == ([], [*ready, *sent])
    session.receive(port.Accepted(second, 2))
    assert session.receive(port.Hello()) == ([], ready)


def test_repeated_answer_is_dropped() -> None:
    session = Session()
    ticket = submitted(session)
    session.receive(port.Accepted(ticket, 1))
    assert session.receive(port.Accepted(ticket, 1)) == ([], [])
    assert session.receive(port.Refused(ticket, "late")) == ([], [])


def test_result_is_given_once() -> None:
    session = Session()
    session.receive(port.Accepted(submitted(session, 3), 1))
    assert len(ends(session, port.Finished(2, [result(1), result(2)]))) == 2
    assert ends(session, port.Finished(2, [result(1), result(2)])) == []
    assert [end.result.tid for end in ends(session, port.Finished(3, [result(2), result(3)]))] == [3]


def test_seen_waits_until_there_are_many_results_or_large_ones() -> None:
    session = Session()
    session.receive(port.Accepted(submitted(session, UNSAID_MOST + 1), 1))
    for number in range(1, UNSAID_MOST):
        session.receive(port.Finished(number, [result(number)]))
        assert session.seen() == []
    session.receive(port.Finished(UNSAID_MOST, [result(UNSAID_MOST)]))
    assert session.seen() == [port.Seen(UNSAID_MOST)]
    session.receive(port.Finished(UNSAID_MOST + 1, [result(UNSAID_MOST + 1, "x" * UNSAID_BYTES)]))
    assert session.seen() == [port.Seen(UNSAID_MOST + 1)]


@pytest.mark.usefixtures("says_at_once")
def test_seen_is_said_once_the_results_are_taken_and_again_when_they_are_repeated() -> None:
    session = Session()
    session.receive(port.Accepted(submitted(session, 2), 1))
    assert session.seen() == []
    finished = port.Finished(1, [result(1)])
    assert session.receive(finished)[1] == []
    assert session.seen() == [port.Seen(1)]
    assert session.seen() == []
    assert session.receive(finished)[1] == [port.Seen(1)]


@pytest.mark.usefixtures("says_at_once")
def test_result_that_overtakes_its_acceptance_waits_for_it() -> None:
    """The kernel died between its commit and its answer, and the next one gives the result first."""
    session = Session()
    ticket = submitted(session, 2)
    assert session.receive(port.Finished(1, [result(2, "early")])) == ([], [])
    assert session.seen() == [], "what was not handed over is not acknowledged"
    events, _ = session.receive(port.Accepted(ticket, 1))
    assert events[0] == Accepted(ticket, [1, 2])
    assert [(end.index, end.value) for end in events[1:] if isinstance(end, ThreadEnded)] == [(1, "early")]
    assert session.seen() == [port.Seen(1)]


def test_gap_in_the_results_is_a_violation_that_changes_nothing() -> None:
    session = Session()
    session.receive(port.Accepted(submitted(session, 3), 1))
    with pytest.raises(PeerViolation, match="results 2 to 2 came after result 0"):
        session.receive(port.Finished(2, [result(2)]))
    assert len(ends(session, port.Finished(2, [result(1), result(2)]))) == 2


def test_result_of_an_unknown_thread_is_a_violation() -> None:
    session = Session()
    with pytest.raises(PeerViolation, match="thread 9"):
        session.receive(port.Finished(1, [result(9)]))


def test_cancel_is_repeated_until_a_later_submission_is_answered() -> None:
    session = Session()
    ticket = submitted(session, 2)
    session.receive(port.Accepted(ticket, 5))
    (cancel,) = session.cancel(ticket, 1)
    assert isinstance(cancel, port.Cancel)
    assert cancel.tids == [6]
    assert session.receive(port.Hello())[1] == [cancel]
    ends(session, port.Finished(1, [result(6, status="terminated")]))
    assert session.receive(port.Hello())[1] == [cancel], "its thread may have ended by itself, and the kernel that read it may be dead"
    assert session.cancel(ticket, 1) == [], "a thread that ended is left alone"
    later = submitted(session)
    session.receive(port.Accepted(later, 7))
    assert session.receive(port.Hello())[1] == []


def test_requests_are_sent_in_the_order_of_their_numbers() -> None:
    session = Session()
    first = submitted(session, 2)
    session.receive(port.Accepted(first, 5))
    second, third = submitted(session), submitted(session)
    assert session.cancel(first, 1) == [], "a submission with a lower number waits"
    _, sent = session.receive(port.Accepted(second, 7))
    assert [(type(message), getattr(message, "sequence", 0)) for message in sent] == [(port.PackedSubmit, third), (port.Cancel, third + 1)]


def test_cancel_before_the_threads_number_is_known_follows_its_acceptance() -> None:
    session = Session()
    ticket = submitted(session, 2)
    assert session.cancel(ticket, 0) == []
    _, sent = session.receive(port.Accepted(ticket, 11))
    assert [message.tids for message in sent if isinstance(message, port.Cancel)] == [[11]]


def test_cancel_of_a_refused_thread_is_forgotten() -> None:
    session = Session()
    ticket = submitted(session)
    session.cancel(ticket, 0)
    assert session.receive(port.Refused(ticket, "no"))[1] == []
    following = submitted(session)
    assert session.receive(port.Accepted(following, 1))[1] == []


def test_outcome_is_repeated_alone_until_it_is_recorded() -> None:
    session = Session()
    session.ready(["e"])
    submitted(session)
    (outcome,) = session.outcome("completed", raw({}))
    assert session.owes_outcome
    assert session.receive(port.Hello())[1] == [outcome]
    assert session.outcome("failed", raw({})) == [], "the first outcome stands"
    assert session.receive(port.Recorded())[0] == [OutcomeRecorded()]
    assert session.receive(port.Hello())[1] == []
    assert not session.owes_outcome


def test_stop_is_handed_over() -> None:
    assert Session().receive(port.Stop("shutdown", 2.5))[0] == [StopRequested("shutdown", 2.5)]


@pytest.mark.parametrize("message", [port.Recorded(), port.Gate(1, 1, b"", "", raw({}), "", "", "", 1.0)])
def test_what_no_kernel_says_now_is_a_violation(message: port.ToProcess) -> None:
    with pytest.raises(PeerViolation):
        Session().receive(message)


def test_misuse_is_our_bug() -> None:
    session = Session()
    session.ready([])
    with pytest.raises(InternalError):
        session.ready([])
    with pytest.raises(InternalError):
        session.submit("e", [])
    with pytest.raises(InternalError):
        session.submit("e", [raw(1)], ["one", "two"])
