"""The real logger under a real keeper: what a process writes is in its file."""

import os
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.integration.keeper.theatre import PATIENCE, String, Theatre

LOGGER = f"{shlex.quote(sys.executable)} -P -m dadmsd.logger"
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (\S+) (.*)")


def lines(path: Path) -> list[tuple[str, str]]:
    """Tags and texts of a log file."""
    if not path.exists():
        return []
    found = [LINE.fullmatch(line) for line in path.read_text().splitlines()]
    assert all(found)
    return [(match.group(1), match.group(2)) for match in found if match]


def awaited(claim: Callable[[], bool]) -> bool:
    """Wait for what a file will say; nobody would tell us."""
    deadline = time.monotonic() + PATIENCE
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def logger_pid(theatre: Theatre) -> int:
    """Find the logger among the keeper's children."""
    for child in Path(f"/proc/{theatre.pid}/task/{theatre.pid}/children").read_text().split():
        if b"dadmsd.logger" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    return 0


def opened(theatre: Theatre) -> String:
    """Start a keeper with a real logger; gives the kernel."""
    theatre.open(logger=LOGGER)
    kernel = theatre.actor("kernel")
    kernel.say("Ready")
    return kernel


def ended(theatre: Theatre, kernel: String) -> int:
    theatre.signal(signal.SIGTERM)
    kernel.hears("StopAsked")
    kernel.say("Stopped")
    return theatre.over()


def test_a_line_is_there_for_a_reader_at_once(theatre: Theatre) -> None:
    kernel = opened(theatre)
    kernel.do("store", name="v1/log/1001.1")
    log = theatre.state / "logs" / "1001.log"
    kernel.do("write", name="v1/log/1001.1", index=1, text="first\nsec")
    assert awaited(lambda: lines(log) == [("1001.1", "first")])
    kernel.do("write", name="v1/log/1001.1", index=1, text="ond\n")
    assert awaited(lambda: lines(log) == [("1001.1", "first"), ("1001.1", "second")])
    assert log.stat().st_mode & 0o777 == 0o600
    assert ended(theatre, kernel) == 0


def test_a_dropped_log_is_written_to_its_last_byte_and_its_descriptors_are_given_back(theatre: Theatre) -> None:
    kernel = opened(theatre)
    log = theatre.state / "logs" / "1001.log"
    kernel.do("store", name="v1/log/1001.1")
    kernel.do("write", name="v1/log/1001.1", index=1, text="1001 is ready\n")
    assert awaited(lambda: len(lines(log)) == 1)  # the logger has it
    before = len(os.listdir(f"/proc/{theatre.pid}/fd"))  # noqa: PTH208 - numbers, not paths
    kernel.do("write", name="v1/log/1001.1", index=1, text="y" * 60_000 + "\nno newline")
    kernel.do("let_go", name="v1/log/1001.1")
    kernel.say("Drop", "v1/log/1001.1")
    assert awaited(lambda: lines(log)[-1:] == [("1001.1", "no newline")])
    assert sum(text.count("y") for _, text in lines(log)) == 60_000 + 1  # and that of "ready"
    assert awaited(lambda: len(os.listdir(f"/proc/{theatre.pid}/fd")) == before - 2)  # noqa: PTH208 - numbers, not paths
    assert not any("1001.log" in os.readlink(link) for link in Path(f"/proc/{logger_pid(theatre)}/fd").iterdir())  # noqa: PTH115 - the text
    assert ended(theatre, kernel) == 0


def test_processes_and_their_incarnations_are_told_apart(theatre: Theatre) -> None:
    kernel = opened(theatre)
    for name in ("1001.1", "1001.2", "1002.1", "zygote-bpmn.1"):
        kernel.do("store", name=f"v1/log/{name}")
        kernel.do("write", name=f"v1/log/{name}", index=1, text=f"I am {name}\n")
    assert ended(theatre, kernel) == 0  # the end writes what is left
    logs = theatre.state / "logs"
    assert sorted(path.name for path in logs.iterdir()) == ["1001.log", "1002.log", "servers.log", "zygote-bpmn.log"]
    assert sorted(lines(logs / "1001.log")) == [("1001.1", "I am 1001.1"), ("1001.2", "I am 1001.2")]
    assert lines(logs / "1002.log") == [("1002.1", "I am 1002.1")]
    assert lines(logs / "zygote-bpmn.log") == [("zygote-bpmn.1", "I am zygote-bpmn.1")]


def test_a_killed_logger_loses_nothing_that_waits_and_says_where_it_began_again(theatre: Theatre) -> None:
    kernel = opened(theatre)
    log = theatre.state / "logs" / "1001.log"
    kernel.do("store", name="v1/log/1001.1")
    for number in range(3):
        victim = logger_pid(theatre)
        kernel.do("write", name="v1/log/1001.1", index=1, text=f"before {number}\n")
        assert awaited(lambda number=number: ("1001.1", f"before {number}") in lines(log))  # type: ignore[misc] # mypy has no type for such a default
        os.kill(victim, signal.SIGKILL)
        kernel.do("write", name="v1/log/1001.1", index=1, text=f"while nobody reads {number}\n")
        assert awaited(lambda number=number: ("1001.1", f"while nobody reads {number}") in lines(log))  # type: ignore[misc] # as above
    texts = [text for _, text in lines(log)]
    assert [text for text in texts if not text.startswith("[")] == [
        f"{when} {number}" for number in range(3) for when in ("before", "while nobody reads")
    ]
    assert sum(text.startswith("[the logger was restarted here") for text in texts) == 3
    kernel.do("store", name="v1/log/1002.1")
    kernel.do("write", name="v1/log/1002.1", index=1, text="later\n")
    assert ended(theatre, kernel) == 0
    assert lines(theatre.state / "logs" / "1002.log") == [("1002.1", "later")]  # nothing of it can be missing


def test_a_process_that_writes_without_end_holds_neither_memory_nor_the_others_up(theatre: Theatre) -> None:
    kernel = opened(theatre)
    for name in ("1001.1", "1002.1"):
        kernel.do("store", name=f"v1/log/{name}")
    pipe = Path(f"/proc/{kernel.pid}/fd/{kernel.do('number_of', name='v1/log/1001.1')}")
    with pipe.open("wb") as output:
        flood = subprocess.Popen(["yes"], stdout=output)
    try:
        log = theatre.state / "logs" / "1001.log"
        assert awaited(lambda: log.exists() and log.stat().st_size > 20_000_000)
        kernel.do("write", name="v1/log/1002.1", index=1, text="and I?\n")
        assert awaited(lambda: lines(theatre.state / "logs" / "1002.log") == [("1002.1", "and I?")])
        status = Path(f"/proc/{logger_pid(theatre)}/status").read_text()
        assert int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) < 40_000  # type: ignore[union-attr] # KiB; it is there
    finally:
        flood.kill()
        flood.wait()
    assert ended(theatre, kernel) == 0


def test_the_last_words_of_those_who_are_killed_after_the_keeper_are_written(theatre: Theatre) -> None:
    kernel = opened(theatre)
    kernel.do("store", name="v1/log/1001.1")
    kernel.do("write", name="v1/log/1001.1", index=1, text="one\nI was ")
    log = theatre.state / "logs" / "1001.log"
    assert awaited(lambda: len(lines(log)) == 1)  # the logger has it
    logger = logger_pid(theatre)
    ends = os.pidfd_open(logger)
    theatre.signal(signal.SIGKILL)
    theatre.over()
    assert kernel.is_gone()  # and with it the last write end
    assert select.select([ends], [], [], PATIENCE)[0]
    os.close(ends)
    assert lines(log) == [("1001.1", "one"), ("1001.1", "I was ")]


def test_sigterm_is_not_for_the_logger(theatre: Theatre) -> None:
    kernel = opened(theatre)
    kernel.do("store", name="v1/log/1001.1")
    kernel.do("write", name="v1/log/1001.1", index=1, text="one\n")
    log = theatre.state / "logs" / "1001.log"
    assert awaited(lambda: len(lines(log)) == 1)
    os.kill(logger_pid(theatre), signal.SIGTERM)
    kernel.do("write", name="v1/log/1001.1", index=1, text="two\n")
    assert awaited(lambda: [text for _, text in lines(log)] == ["one", "two"])
    assert ended(theatre, kernel) == 0


def test_the_logger_says_how_it_is_started() -> None:
    done = subprocess.run([sys.executable, "-m", "dadmsd.logger"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: python -m dadmsd.logger --keeper-fd N\n")
