"""Whatever a process or a worker sends, the kernel, and the kernels after it, read their rows, answer, and go on."""

from typing import Any

import msgspec
import pytest

from dadms_ipc import port, requests
from dadmsd.kernel.core import effects, events, values
from dadmsd.worker.messages import Outcome
from tests.unit.kernel.driver import NIL, Driver, names, told

DEEP = msgspec.msgpack.encode([])
for _ in range(100):
    DEEP = b"\x91" + DEEP

UNREADABLE = {
    "text that is no UTF-8": b"\xa1\xff",
    "a map whose key is a map": b"\x81\x81\x01\x02\x03",
    "a time that cannot be": b"\xc7\x0c\xff" + b"\xff" * 12,
    "a map whose key is a list": b"\x81\x91\x01\x02",
    "an extension": b"\xc7\x01\x05a",
    "lists in lists in lists": DEEP,
    "an extension in a list in a map": b"\x81\xa1a\x91\xc7\x01\x05a",
}


def lives(driver: Driver) -> None:
    """Hold that people can look at everything, and that the next kernel can too."""
    for _ in range(2):
        for request in (requests.List(), requests.Events(), requests.Threads()):
            msgspec.msgpack.decode(msgspec.msgpack.encode(driver.answer(request)))
        driver.next_kernel()


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_outcome_that_cannot_be_shown_is_a_failure_that_says_so(name: str) -> None:
    """It is acknowledged, so that the process can go."""
    driver = Driver()
    pid = driver.run()
    done = driver.give(events.OutcomeGiven(f"{pid}.1", port.Outcome("completed", msgspec.Raw(UNREADABLE[name]))))
    assert told(done, port.Recorded)
    lives(driver)
    driver.end(pid)
    assert driver.process(pid).status == "failed"
    assert driver.process(pid).reason.startswith("its outcome cannot be kept: ")
    lives(driver)


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_note_whose_data_cannot_be_shown_is_told_without_them(name: str) -> None:
    """The text is what people read."""
    driver = Driver()
    pid = driver.run()
    driver.give(events.NoteGiven(f"{pid}.1", port.Note("k", "a text", msgspec.Raw(UNREADABLE[name]))))
    info = driver.state.events[-1]
    assert info.text == "a text"
    assert isinstance(info.data, dict)
    assert info.data["data"] is None
    lives(driver)


@pytest.mark.parametrize(
    "value", [None, True, 7, 1.5, "x", b"x", [1, [2]], {"a": {"b": [1, {}]}, 1: 2, 1.5: 3}, float("nan"), [[[[[[]]]]]], 1 << 63]
)
def test_plain_values_can_be_shown(value: Any) -> None:
    """What JSON knows, bytes, and numbers as keys."""
    assert values.flaw(msgspec.msgpack.encode(value), most=1000) == ""


def test_what_is_kept_of_words_is_bounded() -> None:
    """Ten thousand events and five thousand threads of any length would be any amount of memory."""
    driver = Driver()
    pid = driver.run(workers=1)
    long = "x" * 100_000
    driver.give(events.NoteGiven(f"{pid}.1", port.Note(long, long, msgspec.Raw(msgspec.msgpack.encode(long)))))
    driver.give(events.Submitted(f"{pid}.1", port.Submit(1, "work", [NIL] * 2, [long, long])))
    driver.worker(f"{pid}.1/w1")
    driver.finish(f"{pid}.1/w1", status="error", kind=long, message=long)
    driver.give(events.ChildFailed(f"{pid}.1/w1", long))
    driver.give(events.Exited(f"{pid}.1/w1", 1, 1, begun=2))
    driver.give(events.OutcomeGiven(f"{pid}.1", port.Outcome("failed", NIL, long)))
    sizes = [len(msgspec.msgpack.encode(each)) for each in (*driver.state.events, *driver.state.threads)]
    assert max(sizes) < 10_000


def test_an_outcome_is_bounded() -> None:
    """Its row is written whole, and each look at the process carries it."""
    assert values.flaw(msgspec.msgpack.encode("x" * 100), most=50) == "it is 102 bytes long, at most 50 are kept"


@pytest.mark.parametrize("entries", [["x" * 201], ["x"] * 10_001])
def test_a_process_that_declares_too_much_is_ended(entries: list[str]) -> None:
    """Each of its threads would carry the name."""
    driver = Driver()
    pid = driver.spawn()
    driver.import_code()
    driver.open(f"{pid}.1", 100)
    assert names(driver.give(events.MainReady(f"{pid}.1", entries, [])), effects.Signal) == [f"{pid}.1"]
    driver.end(pid, 2, 9)
    assert (driver.process(pid).status, driver.process(pid).cause) == ("failed", "violation")


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(1, 1, "completed", NIL, run_seconds=float("nan"), cpu_seconds=float("inf"), started_at=float("nan")),
        Outcome(1, 1, "dancing", msgspec.Raw(b"\xa1\xff"), run_seconds=-5.0),
        Outcome(1, 1, "completed", msgspec.Raw(b"\xa1\xff"), run_seconds=float("inf")),
        Outcome(-1, 1, "completed", NIL),
        Outcome(1 << 62, 1, "completed", NIL),
        Outcome(1, -1, "completed", NIL),
    ],
)
def test_a_page_may_hold_anything(outcome: Outcome) -> None:
    """What the kernel cannot use costs the worker."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 3)
    driver.worker(f"{pid}.1/w1")
    driver.give(events.ResultsRead(f"{pid}.1/w1", [outcome, outcome]))
    lives(driver)
    driver.give(events.Exited(f"{pid}.1/w1", 2, 9, begun=1 << 62))
    lives(driver)


def test_an_outcome_of_a_kind_that_there_is_not_is_none() -> None:
    """Only "completed" completes."""
    driver = Driver()
    pid = driver.run()
    driver.give(events.OutcomeGiven(f"{pid}.1", port.Outcome("splendid", NIL)))
    driver.end(pid)
    assert driver.process(pid).status == "failed"
