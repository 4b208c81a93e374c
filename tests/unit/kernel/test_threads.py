"""Threads: what a process may ask for, and what it is told."""

import msgspec
import pytest

from dadms_ipc import port, requests
from dadmsd.kernel.core import deliveries, effects, events, threads
from dadmsd.worker.messages import Outcome
from tests.unit.kernel.driver import NIL, Driver, names, only, results, sent, short, told


def submit(driver: Driver, request: port.Submit) -> port.Accepted | port.Refused:
    """Have process 1001 ask for threads; gives the answer."""
    (message,) = [effect.message for effect in driver.give(events.Submitted("1001.1", request)) if isinstance(effect, effects.Tell)]
    assert isinstance(message, port.Accepted | port.Refused)
    return message


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (port.Submit(1, "dance", [NIL]), 'cannot run "dance": not an entry of this process; it declared work, other'),
        (port.Submit(1, "work", []), "cannot submit 0 threads at once: 1 to 10000"),
        (port.Submit(1, "work", [NIL] * 10_001), "cannot submit 10001 threads at once: 1 to 10000"),
        (port.Submit(1, "work", [NIL] * 2, ["one"]), "cannot submit 2 threads with 1 labels"),
        (port.Submit(1, "work", [NIL], [], 0.0), "cannot submit with a time-out of 0.0 s: it is above 0, and at most 2592000 s"),
        (port.Submit(1, "work", [NIL], [], float("nan")), "cannot submit with a time-out of nan s: it is above 0, and at most 2592000 s"),
        (port.Submit(1, "work", [NIL], [], float("inf")), "cannot submit with a time-out of inf s: it is above 0, and at most 2592000 s"),
        (port.Submit(1, "work", [NIL], [], 1e308), "cannot submit with a time-out of 1e+308 s: it is above 0, and at most 2592000 s"),
    ],
)
def test_a_submission_that_cannot_be_is_refused_as_a_whole(request_: port.Submit, words: str) -> None:
    """Its number is taken all the same, and a repetition gets the same answer."""
    driver = Driver()
    driver.run()
    assert submit(driver, request_) == port.Refused(1, words)
    assert submit(driver, request_) == port.Refused(1, words)
    assert not driver.state.pools[1001].ready
    assert submit(driver, port.Submit(2, "work", [NIL])) == port.Accepted(2, 1)


def test_a_process_without_entries_is_told_that_it_declared_none() -> None:
    """The sentence stays readable."""
    driver = Driver()
    driver.spawn()
    driver.import_code()
    driver.open("1001.1", 100)
    driver.give(events.MainReady("1001.1", [], []))
    assert submit(driver, port.Submit(1, "work", [NIL])) == port.Refused(
        1, 'cannot run "work": not an entry of this process; it declared none'
    )


def test_a_process_that_ends_runs_nothing_more() -> None:
    """Stopped before it was ready, it has nothing that could run threads."""
    driver = Driver()
    pid = driver.spawn()
    driver.import_code()
    driver.open(f"{pid}.1", 100)
    driver.answer(requests.Kill(pid))
    assert submit(driver, port.Submit(1, "work", [NIL])) == port.Refused(1, "cannot run threads: the process is not running")


def test_what_waits_is_bounded_in_number_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal has the numbers; what has ended makes room."""
    monkeypatch.setattr(threads, "QUEUE_MOST", 4)
    monkeypatch.setattr(threads, "QUEUE_BYTES", 3000)
    monkeypatch.setattr(threads, "ARGUMENT_BYTES", 2000)
    driver = Driver()
    driver.run(workers=1)
    blob = msgspec.Raw(msgspec.msgpack.encode(b"x" * 1500))
    answers = [
        submit(driver, port.Submit(1, "work", [msgspec.Raw(msgspec.msgpack.encode(b"x" * 2500))])),
        submit(driver, port.Submit(2, "work", [blob, NIL])),
        submit(driver, port.Submit(3, "work", [blob])),
        submit(driver, port.Submit(4, "work", [NIL] * 3)),
    ]
    assert [answer.reason for answer in answers if isinstance(answer, port.Refused)] == [
        "cannot submit arguments of 2.444 KiB for one thread: at most 1.953 KiB; give it an artifact instead, process.artifact(value), whose reference is small",
        "cannot submit 1.468 KiB of arguments: 1.469 KiB wait already, at most 2.93 KiB may",
        "cannot submit 3 threads: 2 wait already, at most 4 may",
    ]
    driver.worker("1001.1/w1")
    for _ in range(2):
        driver.finish("1001.1/w1")
    assert driver.state.pools[1001].size == 0
    assert submit(driver, port.Submit(5, "work", [blob])) == port.Accepted(5, 3)


def test_a_submission_that_runs_ahead_waits_for_its_repetition() -> None:
    """What came before it was read by a kernel that died: it is not accepted out of order."""
    driver = Driver()
    pid = driver.run()
    assert not driver.give(events.Submitted(f"{pid}.1", port.Submit(2, "work", [NIL])))
    assert driver.process(pid).asked == 0


def test_a_request_of_a_main_that_is_not_ready_is_repeated_later() -> None:
    """After an adoption its handshake comes first."""
    driver = Driver()
    pid = driver.spawn()
    driver.import_code()
    driver.open(f"{pid}.1", 100)
    assert not driver.give(events.Submitted(f"{pid}.1", port.Submit(1, "work", [NIL])))


def test_a_cancellation_takes_its_number_like_a_submission() -> None:
    """Both share one counter; what follows a cancellation is accepted, and a submission before it is answered again."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 2)
    name = f"{pid}.1"
    driver.give(events.CancelAsked(name, 2, [1, 2]))
    driver.give(events.CancelAsked(name, 2, [1, 2]))
    again = driver.give(events.Submitted(name, port.Submit(1, "work", [NIL] * 2)))
    assert told(again, port.Accepted) == [port.Accepted(1, 1)]
    after = driver.give(events.Submitted(name, port.Submit(3, "work", [NIL])))
    assert port.Accepted(3, 3) in told(after, port.Accepted)
    assert [info.state for info in driver.state.threads] == ["terminated", "terminated"]


def test_many_that_are_given_up_at_once_are_one_delivery_and_one_event() -> None:
    """A thousand rows and a thousand events would hold up everybody else."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 1000)
    done = driver.cancel(pid, *range(1, 2001), *range(1, 10))
    assert [len(message.results) for message in told(done, port.Finished)] == [1000]
    assert driver.kinds("thread") == ["threads.ended"]
    assert driver.process(pid).threads_done == 1000


def test_a_delivery_fits_into_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than that end as several."""
    monkeypatch.setattr(deliveries, "DELIVERY_MOST", 400)
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 1000)
    done = driver.cancel(pid, *range(1, 1001))
    assert [message.sequence for message in told(done, port.Finished)] == [400, 800, 1000]


def test_a_thread_that_is_given_up_while_it_runs_costs_its_worker_and_no_other_thread() -> None:
    """The one behind it goes back to the queue."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 2)
    driver.worker(f"{pid}.1/w1")
    assert names(driver.cancel(pid, 1), effects.Signal) == [f"{pid}.1/w1"]
    done = driver.give(events.Exited(f"{pid}.1/w1", 2, 9, begun=1))
    assert [(result.tid, result.status, result.message) for result in results(done)] == [(1, "terminated", "was terminated while it ran")]
    assert sent(driver.worker(f"{pid}.1/w2")) == {f"{pid}.1/w2": [2]}


def test_a_thread_behind_another_is_taken_back_and_given_up() -> None:
    """Its worker goes on with the one that it had begun; what was sent behind it runs where there is room."""
    driver = Driver()
    pid = short(driver, count=4)
    name = f"{pid}.1/w1"
    assert driver.flying(name) == [2, 3, 4, 5]
    assert names(driver.cancel(pid, 4), effects.FreezeWorker) == [name]
    done = driver.freeze(name)
    assert [(result.tid, result.status, result.cause) for result in results(done)] == [(4, "terminated", "terminated")]
    assert only(done, effects.Revoke, effects.ThawWorker) == [effects.Revoke(name, 3, 5), effects.ThawWorker(name)]
    assert driver.flying(name) == [2], "nothing waits behind it"
    driver.finish(name, seconds=0.0001)
    assert driver.flying(name) == [3, 5]


def test_a_thread_that_was_quicker_than_its_end_has_completed() -> None:
    """Its result counts, and nobody remembers that it was to be ended."""
    driver = Driver()
    pid = short(driver, count=4)
    driver.cancel(pid, 4)
    assert not names(driver.finish(f"{pid}.1/w1", count=4, seconds=0.0001), effects.Signal)
    assert driver.thread(4).state == "completed"
    assert not driver.state.pools[pid].condemned


def test_a_thread_that_was_to_end_ends_with_its_worker_if_that_is_first() -> None:
    """It does not go back to the queue."""
    driver = Driver()
    pid = short(driver, count=4)
    driver.cancel(pid, 4)
    done = driver.give(events.Exited(f"{pid}.1/w1", 2, 9, begun=2))
    assert {result.tid: result.message for result in results(done)} == {
        2: "its worker w1 (pid 201) ended by signal 9",
        4: "its process gave it up",
    }


def test_a_client_ends_a_thread_that_waits_at_once() -> None:
    """It ends with the client's words; one that has ended, or never was, is refused."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid)
    assert driver.answer(requests.KillThread(1)) == {"tid": 1}
    assert driver.thread(1).message == "was terminated by uid 0"
    assert driver.refusal(requests.KillThread(1)) == "cannot kill thread 1: it has ended (terminated)"
    assert driver.refusal(requests.KillThread(9)) == "cannot kill thread 9: there is none"
    assert driver.refusal(requests.KillThread(-5)) == "cannot kill thread -5: there is none"


def test_a_thread_that_runs_too_long_times_out() -> None:
    """Its worker is ended at the deadline, and the thread says how long it had."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, timeout=2.0)
    driver.worker(f"{pid}.1/w1")
    assert not names(driver.give(after=1.9), effects.Signal)
    assert names(driver.give(after=0.2), effects.Signal) == [f"{pid}.1/w1"]
    (result,) = results(driver.give(events.Exited(f"{pid}.1/w1", 2, 9, begun=1)))
    assert (result.status, result.message) == ("timed_out", "did not end within 2 s")


@pytest.mark.parametrize(("own", "asked", "seconds"), [(None, None, 30.0), (7.0, None, 7.0), (7.0, 3.0, 3.0)])
def test_the_time_of_a_thread_is_its_submissions_its_processs_or_the_daemons(
    own: float | None, asked: float | None, seconds: float
) -> None:
    """The nearest one counts."""
    driver = Driver()
    pid = driver.run(workers=1, thread_timeout=own)
    driver.submit(pid, timeout=asked)
    driver.worker(f"{pid}.1/w1")
    assert driver.state._armed[("head", f"{pid}.1/w1")] == driver.now + seconds


def test_the_time_of_a_thread_begins_when_it_is_at_the_head() -> None:
    """One timer serves each worker: it looks again when the thread it was armed for has ended."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 2, timeout=2.0)
    driver.worker(f"{pid}.1/w1")
    driver.give(after=1.5)
    driver.finish(f"{pid}.1/w1")
    assert not names(driver.give(after=0.6), effects.Signal)
    assert driver.state.next_deadline() == pytest.approx(3.5)
    assert names(driver.give(after=1.5), effects.Signal) == [f"{pid}.1/w1"]


def test_a_result_is_told_until_it_was_seen_and_its_room_is_free_at_once() -> None:
    """Consume after the commit; the payload goes with the acknowledgement, what it came to stays."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 3)
    driver.worker(f"{pid}.1/w1")
    for number in (1, 2, 3):
        done = driver.finish(f"{pid}.1/w1")
        assert only(done, effects.Consume) == [effects.Consume(f"{pid}.1/w1", number)]
    driver.give(events.ResultsSeen(f"{pid}.1", 1))
    driver.give(events.ResultsSeen(f"{pid}.1", 1), events.ResultsSeen(f"{pid}.1", 9), events.ResultsSeen(f"{pid}.1", 0))
    assert [each.payload is None for each in driver.state.results[pid]] == [True, False, False]
    driver.give(events.ResultsSeen(f"{pid}.1", 3))
    assert all(each.payload is None for each in driver.state.results[pid])
    assert driver.state.pools[pid].unseen == 0


def test_a_process_that_leaves_its_results_lying_gets_no_more_threads_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would fill the kernel's memory; its next acknowledgement lets it go on."""
    monkeypatch.setattr(deliveries, "UNSEEN_MOST", 100)
    monkeypatch.setattr("dadmsd.kernel.core.dispatch.UNSEEN_MOST", 100)
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 3)
    driver.worker(f"{pid}.1/w1")
    assert not sent(driver.finish(f"{pid}.1/w1", message="x" * 200))
    assert sent(driver.give(events.ResultsSeen(f"{pid}.1", 1))) == {f"{pid}.1/w1": [2]}


@pytest.mark.parametrize(
    ("kind", "cause"), [("ValueError", "exception"), ("MemoryError", "oom"), ("result-too-large", "result"), ("", "exception")]
)
def test_an_error_has_a_cause(kind: str, cause: str) -> None:
    """The message names the exception's class where there is one."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid)
    driver.worker(f"{pid}.1/w1")
    (result,) = results(driver.finish(f"{pid}.1/w1", status="error", kind=kind, message="no"))
    assert (result.status, result.cause) == ("error", cause)
    assert driver.thread(1).message == (f"{kind}: no" if kind else "no")


def test_results_that_were_had_are_consumed_again_and_nothing_else() -> None:
    """A new kernel reads the page from its tail; an empty look changes nothing."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid)
    driver.worker(f"{pid}.1/w1")
    flying = list(driver.state.pools[pid].workers[f"{pid}.1/w1"].in_flight)
    driver.finish(f"{pid}.1/w1")
    again = [Outcome(sequence, tid, "completed", NIL) for sequence, tid in flying]
    assert driver.give(events.ResultsRead(f"{pid}.1/w1", again)) == [effects.Consume(f"{pid}.1/w1", 1)]
    assert not driver.give(events.ResultsRead(f"{pid}.1/w1", []))


def test_progress_is_an_event_with_the_threads_label() -> None:
    """Of a thread that the kernel knows; anything else is nobody's."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.give(events.Submitted(f"{pid}.1", port.Submit(1, "work", [NIL], ["evaluate the model"])))
    driver.worker(f"{pid}.1/w1")
    driver.give(events.ProgressMade(f"{pid}.1/w1", 1, "half", 0.5), events.ProgressMade(f"{pid}.1/w1", 77, "x", None))
    assert [info.text for info in driver.state.events if info.kind == "thread.progress"] == ["evaluate the model: half"]
