"""What clients ask: answers, waits, and pages of events."""

from collections.abc import Callable

import msgspec
import pytest

from dadms_ipc import context, port, requests
from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.kernel import Kernel
from dadmsd.kernel.core.standing import ANSWERED_MOST
from dadmsd.kernel.core.state import EVENTS_KEPT, REPLY_RETENTION
from tests.unit.kernel.driver import NIL, START, Driver, names, only, short


def replies(done: list[effects.AnyEffect]) -> list[object]:
    return [effect.answer for effect in only(done, effects.Reply)]


def arrived(request: requests.Request, *, client: bytes = b"w", sequence: int = 1, deadline: float = 0.0) -> events.RequestArrived:
    return events.RequestArrived(client, sequence, 0, "admin", "uid 0", request, deadline)


# waiting


def test_waiting_ends_when_the_process_does() -> None:
    """A parked request is answered by the turn that ends the process."""
    driver = Driver()
    pid = driver.run()
    assert driver.ask(requests.Wait(pid, timeout=60.0)) is None
    driver.give(events.OutcomeGiven(f"{pid}.1", port.Outcome("completed", NIL)))
    driver.give(events.Exited(f"{pid}.1", 1, 0))
    (info,) = replies(driver.give(events.GroupGone(pid)))
    assert isinstance(info, requests.ProcessInfo)
    assert info.status == "completed"
    assert driver.answer(requests.Wait(pid)).status == "completed"


def test_waiting_for_readiness_ends_with_it_or_with_the_process() -> None:
    """Whichever is first."""
    driver = Driver()
    pid = driver.spawn()
    driver.import_code()
    driver.open(f"{pid}.1", 100)
    driver.give(arrived(requests.Wait(pid, "ready", 60.0)))
    assert len(replies(driver.give(events.MainReady(f"{pid}.1", [], [])))) == 1
    assert driver.answer(requests.Wait(pid, "ready")).status == "running"
    other = driver.spawn()
    driver.give(arrived(requests.Wait(other, "ready", 60.0)))
    driver.give(events.ForkFailed(f"{other}.1", "no"))
    assert len(replies(driver.give(events.GroupGone(other)))) == 1


@pytest.mark.parametrize(("timeout", "after"), [(2.0, 2.1), (1000.0, 60.1), (-1.0, 0.0), (float("nan"), 60.1)])
def test_waiting_ends_when_its_time_does(timeout: float, after: float) -> None:
    """At the time-out, a minute at most, the answer is what is, not an error."""
    driver = Driver()
    pid = driver.run()
    done = driver.give(arrived(requests.Wait(pid, timeout=timeout)))
    if after:
        assert not done
        assert not driver.give(after=after - 0.2)
    (info,) = replies(done + driver.give(after=0.3))
    assert isinstance(info, requests.ProcessInfo)
    assert info.status == "running"
    assert driver.state.next_deadline() is None or driver.state.next_deadline() > driver.now  # type: ignore[operator]  # it is not None here


@pytest.mark.parametrize(
    "what", [lambda pid: requests.Wait(pid, timeout=50.0), lambda pid: requests.ReadContext(pid, context.Watch("r", "k", 0, 50.0))]
)
def test_nobody_waits_beyond_the_deadline_of_the_call(what: Callable[[int], requests.Request]) -> None:
    """However long the request itself says; what is left of the call is what counts when it says more, not less."""
    driver = Driver()
    pid = driver.run()
    driver.give(events.ContextCalled(f"{pid}.1", port.ContextCall(1, 0, context.Update("r", "other", msgspec.Raw(b"\x01")))))
    driver.give(arrived(what(pid), deadline=driver.now + 3.0))
    driver.give(arrived(what(pid), sequence=2, deadline=driver.now + 300.0))
    assert not replies(driver.give(after=2.9))
    assert len(replies(driver.give(after=0.2))) == 1
    assert not replies(driver.give(after=46.0))
    assert len(replies(driver.give(after=2.0))) == 1


def test_what_nobody_waits_for_any_more_is_not_done() -> None:
    """A request that lay in the link of a stopped kernel beyond its deadline has no effect and no answer; one in time has."""
    driver = Driver()
    pid = driver.run()
    driver.give(after=5.0)
    assert driver.give(arrived(requests.Kill(pid), deadline=driver.now)) == []
    assert driver.process(pid).status == "running"
    assert replies(driver.give(arrived(requests.Kill(pid), deadline=driver.now + 0.1)))


def test_waiting_for_what_is_not_is_refused() -> None:
    """A process that there is not, with the nearest that there is; a state that there is not."""
    driver = Driver()
    pid = driver.run()
    assert driver.refusal(requests.Wait(1002)) == "no process 1002; there is 1001"
    assert driver.refusal(requests.Wait(7)) == "no process 7"
    assert "cannot wait until 'gone'" in driver.refusal(requests.Wait(pid, "gone"))


def test_a_request_that_is_repeated_waits_once_from_then_on() -> None:
    """A new kernel gets it again from the bus; the same kernel may too."""
    driver = Driver()
    pid = driver.run()
    driver.give(arrived(requests.Wait(pid, timeout=10.0)))
    driver.give(arrived(requests.Wait(pid, timeout=10.0)), after=8.0)
    assert not driver.give(after=4.0)
    assert len(replies(driver.give(after=6.1))) == 1
    assert not driver.state.watchers


def test_who_has_left_is_not_answered() -> None:
    """And nothing is kept for him; the others wait on."""
    driver = Driver()
    pid = driver.run()
    driver.give(
        arrived(requests.Wait(pid)), arrived(requests.Events(after=100, wait=5.0), sequence=2), arrived(requests.Wait(pid), client=b"x")
    )
    driver.give(events.ClientLeft(b"w"))
    assert list(driver.state.waiters) == [(b"x", 1)]
    assert len(replies(driver.give(after=20.0))) == 1


def test_the_number_of_those_who_wait_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused; one that waits already may repeat itself."""
    monkeypatch.setattr("dadmsd.kernel.core.requests.WAITERS_MOST", 2)
    driver = Driver()
    pid = driver.run()
    for sequence in (1, 2, 2):
        assert not driver.give(arrived(requests.Wait(pid), sequence=sequence))
    assert driver.refusal(requests.Wait(pid)) == "cannot wait: 2 requests wait already"


def test_who_waits_for_a_process_hears_of_its_end_even_if_it_leaves_the_table_at_once() -> None:
    """The oldest of those that ended leave it first, and the answer goes out before."""
    driver = Driver(ended_kept=0, ended_least=0.0)
    pid = driver.run()
    driver.give(arrived(requests.Wait(pid, timeout=60.0)))
    driver.give(events.Exited(f"{pid}.1", 1, 0))
    (info,) = replies(driver.give(events.GroupGone(pid)))
    assert isinstance(info, requests.ProcessInfo)
    assert info.status == "failed"
    assert driver.answer(requests.Status(pid)).is_past


def test_a_process_that_has_left_the_table_is_waited_for_and_shown_from_the_history() -> None:
    """With its exit code and what it used, its log is read by whom it belonged to, and what can only be done to one that is there is refused in English."""
    driver = Driver(ended_kept=0, ended_least=0.0)
    pid = driver.run(group="night")
    driver.give(events.Exited(f"{pid}.1", 1, 3, cpu_seconds=1.5, memory_peak=4096))
    driver.give(events.GroupGone(pid))
    assert pid not in driver.state.processes
    for until in ("started", "ready", "suspended", "ended"):
        info = driver.answer(requests.Wait(pid, until=until))
        assert (info.status, info.cause, info.exit_code, info.exit_signal, info.group) == ("failed", "exited 3", 3, None, "night")
    info = driver.answer(requests.Status(pid))
    assert (info.is_past, info.orchestrator, info.kind, info.cpu_seconds, info.memory_peak) == (True, "decision", "orchestrator", 1.5, 4096)
    assert info.ended_at == 1000.0
    assert info.log.endswith(f"/logs/{pid}.log")
    assert driver.answer(requests.ReadLog(pid)).pid == pid
    assert driver.refusal(requests.ReadLog(pid), uid=77, role="operate") == (
        f'cannot read the log of {pid} ("p"): it belongs to user 0, uid 77 is not'
    )
    killed = driver.run()
    driver.answer(requests.Kill(killed, force=True, reason="the night shift"))
    driver.give(events.Exited(f"{killed}.1", 2, 9))
    driver.give(events.GroupGone(killed))
    assert driver.answer(requests.Wait(killed)).exit_signal == 9
    assert driver.refusal(requests.Kill(killed)) == (
        f"process {killed} has left the table: it was killed (signal 9 (SIGKILL), by kill from uid 0: the night shift); its history is kept"
    )
    assert driver.refusal(requests.Wait(4711)) == "no process 4711"


def test_an_ended_process_stays_for_a_minute_so_that_its_end_and_outcome_are_seen() -> None:
    """However many ended after it, up to as many as can live at once; those that ended before that go first."""
    driver = Driver(ended_kept=2, max_processes=3)
    pids = []
    for _ in range(6):
        pids.append(driver.run())
        driver.end(pids[-1])
        driver.give(after=1.0)
    assert list(driver.state.ended) == pids[1:], "two that are kept, and three that could live"
    driver.give(after=54.0)
    assert list(driver.state.ended) == pids[1:]
    driver.give(after=2.5)
    assert list(driver.state.ended) == pids[3:], "the others of those beyond two ended less than a minute ago"
    driver.give(after=60.0)
    assert list(driver.state.ended) == pids[4:]


def test_those_that_ended_first_leave_the_table_first_whatever_their_number() -> None:
    """A process that ran for long stays to be looked at when it ends."""
    driver = Driver(ended_kept=1, ended_least=0.0)
    old, young = driver.run(), driver.run()
    driver.end(young)
    driver.end(old)
    assert list(driver.state.processes) == [old]
    assert not [key for table, key in driver.rows if table == "process" and key == young]


# events


def test_events_have_consecutive_numbers_and_can_be_read_on() -> None:
    """A reader that goes on from the last number misses none, wherever it begins."""
    driver = Driver()
    driver.run()
    last = driver.answer(requests.Events()).last
    assert [info.number for info in driver.answer(requests.Events()).events] == list(range(1, last + 1))
    for limit in (1, 2, 3, 1000):
        numbers: list[int] = []
        while (numbers[-1] if numbers else 0) < last:
            numbers += [info.number for info in driver.answer(requests.Events(after=numbers[-1] if numbers else 0, limit=limit)).events]
        assert numbers == list(range(1, last + 1))
    assert driver.answer(requests.Events(after=last)).events == []
    assert driver.answer(requests.Events(after=last + 50)).last == last


def test_events_of_one_process_are_found_among_those_of_others() -> None:
    """The page says up to where it has looked."""
    driver = Driver()
    first, second = driver.run(), driver.run()
    page = driver.answer(requests.Events(pid=second))
    assert {info.pid for info in page.events} == {second}
    assert page.last == driver.state.counters.next_event - 1
    assert len(driver.answer(requests.Events(pid=first, limit=2)).events) == 2


def test_waiting_for_events_ends_with_the_first_that_fits() -> None:
    """One of another process does not."""
    driver = Driver()
    first, second = driver.run(workers=1), driver.run(workers=1)
    last = driver.answer(requests.Events()).last
    driver.give(arrived(requests.Events(after=last, pid=second, wait=9.0)), arrived(requests.Events(after=last, wait=9.0), sequence=2))
    driver.submit(first)
    (page,) = replies(driver.worker(f"{first}.1/w1"))
    assert isinstance(page, requests.EventPage)
    assert [info.kind for info in page.events] == ["worker.ready", "thread.started"]
    (page,) = replies(driver.give(after=9.1))
    assert isinstance(page, requests.EventPage)
    assert (page.events, page.last) == ([], driver.state.counters.next_event - 1)


def notes(pid: int, count: int) -> list[events.NoteGiven]:
    """Give notes of a process, one of them an event each."""
    return [events.NoteGiven(f"{pid}.1", port.Note("k", str(number))) for number in range(count)]


def test_a_reader_who_is_no_more_than_the_events_that_are_kept_behind_misses_none() -> None:
    """One number further back is told what is gone."""
    driver = Driver()
    pid = driver.run()
    driver.give(*notes(pid, EVENTS_KEPT))
    last = driver.state.counters.next_event - 1
    page = driver.answer(requests.Events(after=last - EVENTS_KEPT, limit=1000))
    assert (page.after, page.events[0].number) == (last - EVENTS_KEPT, last - EVENTS_KEPT + 1)
    read = list(page.events)
    while read[-1].number < last:
        read += driver.answer(requests.Events(after=read[-1].number, limit=1000)).events
    assert [info.number for info in read] == list(range(last - EVENTS_KEPT + 1, last + 1))
    page = driver.answer(requests.Events(after=last - EVENTS_KEPT - 1))
    assert (page.after, page.events[0].number) == (last - EVENTS_KEPT, last - EVENTS_KEPT + 1), "the one between is gone"


def test_who_waits_for_one_process_misses_nothing_by_the_many_events_of_another() -> None:
    """They were looked at as they came, and none was its own."""
    driver = Driver()
    quiet, loud = driver.run(), driver.run()
    last = driver.answer(requests.Events()).last
    driver.give(arrived(requests.Events(after=last, pid=quiet, wait=9.0)))
    for _ in range(3):
        assert not replies(driver.give(*notes(loud, EVENTS_KEPT // 2)))
    (page,) = replies(driver.give(*notes(quiet, 1)))
    assert isinstance(page, requests.EventPage)
    assert ([info.pid for info in page.events], page.after) == ([quiet], last)
    driver.give(arrived(requests.Events(after=page.last, pid=quiet, wait=9.0), sequence=2))
    (page,) = replies(driver.give(*notes(quiet, EVENTS_KEPT + 1)))
    assert isinstance(page, requests.EventPage)
    assert page.after == page.oldest - 1, "of one turn there was more than is kept"


def test_who_begins_to_wait_too_late_is_told_when_something_comes() -> None:
    """What is gone by then may have been of its process."""
    driver = Driver()
    quiet, loud = driver.run(), driver.run()
    driver.give(*notes(loud, 2 * EVENTS_KEPT))
    oldest = driver.answer(requests.Events()).oldest
    driver.give(arrived(requests.Events(after=3, pid=quiet, wait=9.0)))
    (page,) = replies(driver.give(*notes(quiet, 1)))
    assert isinstance(page, requests.EventPage)
    assert page.after == oldest - 1


def test_who_waits_for_any_event_hears_of_the_daemons_own() -> None:
    """Once."""
    driver = Driver()
    last = driver.answer(requests.Events()).last
    driver.give(arrived(requests.Events(after=last, wait=9.0)))
    assert len(replies(driver.give(events.StopAsked("x")))) == 1


def test_an_event_that_was_told_already_does_not_answer_who_waits_for_later_ones() -> None:
    """A waiter that is ahead of the stream waits on."""
    driver = Driver()
    driver.run()
    driver.give(arrived(requests.Events(after=10_000, wait=9.0)))
    assert not replies(driver.give(events.StopAsked("x")))


def test_who_followed_a_journal_that_is_lost_is_shown_the_next_from_its_beginning_on() -> None:
    """Also who waits for a number that is higher than any of the next journal; whoever does not say which it was waits on."""
    lost, driver = Driver(), Driver()
    driver.kernel = Kernel(driver.settings)
    driver.kernel.adopt([], now=0.0, wall=START + 60.0)  # a kernel that found nothing
    before = lost.answer(requests.Events())
    assert before.began == START
    driver.give(arrived(requests.Events(after=10_000, wait=9.0, began=START + 60.0)))
    (page,) = replies(driver.give(arrived(requests.Events(after=10_000, wait=9.0, began=before.began), sequence=2), events.StopAsked("x")))
    assert isinstance(page, requests.EventPage)
    assert (page.began, page.after, page.events[0].number) == (START + 60.0, 0, 1)
    assert driver.answer(requests.Events(after=page.last, began=page.began)).events == []


def test_the_next_kernel_goes_on_with_the_numbering() -> None:
    driver = Driver()
    driver.run()
    before = driver.answer(requests.Events())
    driver.next_kernel()
    assert driver.answer(requests.Events(after=before.last, began=before.began)).began == before.began


# looking


def test_a_list_leaves_outcomes_out() -> None:
    """Hundreds of outcomes may be more than a frame holds; who wants one asks for it."""
    driver = Driver()
    pid = driver.run()
    driver.give(events.OutcomeGiven(f"{pid}.1", port.Outcome("completed", msgspec.Raw(msgspec.msgpack.encode({"x": 1})), "")))
    assert driver.answer(requests.Status(pid)).outcome == {"x": 1}
    assert [info.outcome for info in driver.answer(requests.List())] == [None]


def test_a_flood_of_requests_drops_the_oldest_replies() -> None:
    """What is kept for retries is bounded by number as well as by time."""
    driver = Driver()
    pid = driver.run()
    for most in (ANSWERED_MOST, ANSWERED_MOST + 5):
        driver.give(*(arrived(requests.Kill(pid), sequence=number) for number in range(1, most + 1)))
    assert len(driver.state.answered) == ANSWERED_MOST
    assert len([table for table, _ in driver.rows if table == "answered"]) == ANSWERED_MOST


def test_a_process_is_shown_with_what_it_does() -> None:
    """Threads that run, that wait, that ended; the outcome as it was given."""
    driver = Driver()
    pid = short(driver, count=30)
    (info,) = driver.answer(requests.List())
    assert (info.threads_running, info.threads_waiting, info.threads_done, info.workers, info.os_pid) == (1, 29, 1, 1, 100)
    driver.end(pid)
    assert driver.answer(requests.List(include_ended=False)) == []
    (info,) = driver.answer(requests.List())
    assert (info.status, info.threads_done, info.threads_failed, info.os_pid) == ("failed", 31, 30, 0)


@pytest.mark.parametrize("request_", [requests.Wait(1001), requests.Status(1001), requests.List()], ids=lambda each: type(each).__name__)
def test_who_asks_in_the_very_turn_of_an_end_is_shown_none_of_its_threads_open(request_: requests.Request) -> None:
    driver = Driver()
    pid = short(driver, count=30)
    driver.give(events.Exited(f"{pid}.1", 1, 0))
    driver.give(*[events.Exited(child.name, 2, 9) for child in driver.state.owned(pid) if child.phase == "killing"])
    (answer,) = replies(driver.give(events.GroupGone(pid), arrived(request_)))
    info = answer[0] if isinstance(answer, list) else answer
    assert isinstance(info, requests.ProcessInfo)
    assert (info.status, info.threads_done, info.threads_failed, info.threads_waiting, info.threads_running) == ("failed", 31, 30, 0, 0)


def test_the_daemon_is_shown_with_what_is_reserved() -> None:
    """And with its slots."""
    driver = Driver()
    pid = driver.run(memory_request=1000)
    driver.submit(pid, 3)
    info = driver.answer(requests.Status())
    assert (info.processes, info.threads_ready, info.threads_running, info.slots, info.memory_reserved) == (1, 3, 0, 8, 1000)
    assert info.started_at == START


def test_threads_are_shown_newest_last_whatever_they_do() -> None:
    """Ended, running, sent behind another, and waiting."""
    driver = Driver()
    pid, other = short(driver, count=290), driver.run()
    driver.submit(other, 2)
    driver.now += 0.5
    shown = driver.answer(requests.Threads(pid, limit=500))
    assert [info.tid for info in shown] == list(range(1, 292))
    assert [(info.tid, info.state) for info in shown if info.tid in (1, 2, 3, 291)] == [
        (1, "completed"),
        (2, "running"),
        (3, "sent"),
        (291, "ready"),
    ]
    assert shown[1].run_seconds == pytest.approx(0.5)
    assert [info.tid for info in driver.answer(requests.Threads(pid, limit=3))] == [289, 290, 291]
    assert [info.tid for info in driver.answer(requests.Threads(limit=3))] == [291, 292, 293]
    assert len(driver.answer(requests.Threads(limit=-1))) == 1
    assert driver.refusal(requests.Threads(7)) == "no process 7"


def test_the_log_of_ones_own_process_is_read_by_the_shell() -> None:
    """The core decides who may; what is in it is nobody's decision."""
    driver = Driver()
    pid = driver.run()
    assert driver.answer(requests.ReadLog(pid)) == requests.ReadLog(pid)


def test_a_shutdown_is_asked_of_the_keeper_as_often_as_a_client_asks_for_it() -> None:
    """A kernel may die between its answer and its asking: the client's repetition asks again."""
    driver = Driver()
    first = driver.give(arrived(requests.Shutdown()))
    assert only(first, effects.AskShutdown) == [effects.AskShutdown()]
    driver.next_kernel()
    again = driver.give(arrived(requests.Shutdown()))
    assert only(again, effects.AskShutdown) == [effects.AskShutdown()]
    assert only(again, effects.Reply)[0].encoded is not None


def test_answers_are_kept_for_retries_and_no_longer() -> None:
    """Each for its time; one timer serves all, also of answers that an earlier kernel gave."""
    driver = Driver()
    pid = driver.run()
    driver.answer(requests.Kill(pid))
    driver.give(after=REPLY_RETENTION / 2)
    driver.answer(requests.Kill(pid))
    driver.next_kernel()
    driver.give()
    assert len(driver.state.answered) == 3
    driver.give(after=REPLY_RETENTION / 2 + 1)
    assert len(driver.state.answered) == 1
    driver.give(after=REPLY_RETENTION)
    assert not driver.state.answered
    assert not [key for table, key in driver.rows if table == "answered"]
    assert not names(driver.give(), effects.Effect)


@pytest.mark.parametrize("wall", [-REPLY_RETENTION, 2 * REPLY_RETENTION], ids=["back", "ahead"])
@pytest.mark.parametrize("is_next", [False, True], ids=["the same kernel", "the next one"])
def test_a_wall_clock_that_is_set_makes_no_answer_older_or_younger(wall: float, is_next: bool) -> None:
    """A retry within its time has the first answer, and after it nothing is kept."""
    driver = Driver()
    pid = driver.run()
    driver.answer(requests.Kill(pid))
    driver.wall += wall
    if is_next:
        driver.next_kernel()
    driver.give(after=REPLY_RETENTION - 1)
    assert len(driver.state.answered) == 2
    driver.give(after=2)
    assert not driver.state.answered
    assert not [key for table, key in driver.rows if table == "answered"]


def test_answers_of_another_boot_or_daemon_are_kept_for_as_long_again() -> None:
    """Their steady clock is none of this kernel's; a reader who comes late is better off than one who has its work done twice."""
    driver = Driver()
    pid = driver.run()
    driver.answer(requests.Kill(pid))
    driver.now = 5.0  # the clock of a machine that was started again
    driver.next_kernel(interruption="the machine was started again")
    driver.next_kernel()
    driver.give(after=REPLY_RETENTION - 1)
    assert len(driver.state.answered) == 2
    driver.give(after=2)
    assert not driver.state.answered


def test_nothing_is_read_for_who_waits_but_for_who_asks_how_a_process_is() -> None:
    """A thousand that are waited for are not a thousand times ten files in the kernel's loop."""
    driver = Driver()
    pid = driver.run()
    replies = [driver.ask(requests.Wait(pid, until="ready")), driver.ask(requests.Status(pid)), driver.ask(requests.List())]
    assert [reply is not None and reply.is_measured for reply in replies] == [False, True, True]
    driver.give(arrived(requests.Wait(pid, timeout=60.0)))
    driver.give(events.Exited(f"{pid}.1", 1, 0))
    (reply,) = [effect for effect in driver.give(events.GroupGone(pid)) if isinstance(effect, effects.Reply)]
    assert not reply.is_measured
