"""The real logger under a real keeper: what a process writes is in its file."""

import contextlib
import os
import re
import resource
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dadmsd.logger import segments
from tests.integration.keeper.theatre import PATIENCE, String, Theatre

LOGGER = f"{shlex.quote(sys.executable)} -P -m dadmsd.logger"
LOST = r"\[logger: (?P<lines>\d+) lines? \((?P<bytes>\d+) bytes\) were lost here: (?P<reason>.*)\]"
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (\S+) (.*)")


def lines(path: Path, *, halves: int = 0) -> list[tuple[str, str]]:
    """Tags and texts of a log file; ``halves`` lines in it were never finished."""
    if not path.exists():
        return []
    found = [LINE.fullmatch(line) for line in path.read_text().splitlines()]
    assert found.count(None) <= halves
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
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            if b"dadmsd.logger" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return 0


def opened(theatre: Theatre, config: str = "") -> String:
    """Start a keeper with a real logger; gives the kernel."""
    path = theatre.runtime.parent / "dadms.toml"
    path.write_text(config)
    theatre.open("--config", str(path), logger=LOGGER)
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


def flooding(kernel: String, name: str, command: list[str]) -> subprocess.Popen[bytes]:
    """Start a program that writes into a log's pipe."""
    with Path(f"/proc/{kernel.pid}/fd/{kernel.do('number_of', name=name)}").open("wb") as output:
        return subprocess.Popen(command, stdout=output)


def test_a_process_that_writes_without_end_holds_neither_memory_nor_the_others_nor_the_disk(theatre: Theatre) -> None:
    kernel = opened(theatre, "[logger]\nrotate_size_mb = 1\nkeep_files = 2\nrate_limit_kb = 0\n")
    for name in ("1001.1", "1002.1"):
        kernel.do("store", name=f"v1/log/{name}")
    flood = flooding(kernel, "v1/log/1001.1", ["yes"])
    try:
        logs = theatre.state / "logs"
        assert awaited(lambda: segments.end(logs / "1001.log.d") > 20_000_000)
        kernel.do("write", name="v1/log/1002.1", index=1, text="and I?\n")
        assert awaited(lambda: lines(logs / "1002.log") == [("1002.1", "and I?")])
        status = Path(f"/proc/{logger_pid(theatre)}/status").read_text()
        assert int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) < 50_000  # type: ignore[union-attr] # KiB; it is there
    finally:
        flood.kill()
        flood.wait()
    assert awaited(lambda: len(segments.listed(logs / "1001.log.d")) == 2)
    assert awaited(lambda: all(segment.is_compressed for segment in segments.listed(logs / "1001.log.d")))
    assert ended(theatre, kernel) == 0


def test_a_process_beyond_its_share_loses_lines_which_are_counted_and_runs_on(theatre: Theatre) -> None:
    kernel = opened(theatre, "[logger]\nrate_limit_kb = 20\n")
    kernel.do("store", name="v1/log/1001.1")
    log = theatre.state / "logs" / "1001.log"
    assert flooding(kernel, "v1/log/1001.1", ["seq", "100000", "199999"]).wait(PATIENCE) == 0  # 700 kB: it is never held up
    assert awaited(lambda: any("were lost here" in text for _, text in lines(log)))
    later = 0

    def is_heard() -> bool:
        """Tell whether its share has grown again, by a line more."""
        nonlocal later
        later += 1
        kernel.do("write", name="v1/log/1001.1", index=1, text="and later\n")
        return any(text == "and later" for _, text in lines(log))

    assert awaited(is_heard)
    assert ended(theatre, kernel) == 0
    texts = [text for _, text in lines(log)]
    lost = [match for match in (re.fullmatch(LOST, text) for text in texts) if match]
    assert lost[0]["reason"] == "more than 20 KiB/s"
    assert len(texts) - len(lost) + sum(int(match["lines"]) for match in lost) == 100_000 + later
    written = sum(len(text) + 1 for text in texts if not re.fullmatch(LOST, text))
    assert written + sum(int(match["bytes"]) for match in lost) == 700_000 + later * len("and later\n")


def test_a_full_disk_costs_lines_which_are_counted_and_nobody_is_held_up(theatre: Theatre) -> None:
    """A limit on the size of the logger's files fails its writes where a full disk would."""
    kernel = opened(theatre)
    kernel.do("store", name="v1/log/1001.1")
    log = theatre.state / "logs" / "1001.log"
    kernel.do("write", name="v1/log/1001.1", index=1, text="before\n")
    assert awaited(lambda: len(lines(log)) == 1)
    soft, hard = resource.prlimit(logger_pid(theatre), resource.RLIMIT_FSIZE)
    resource.prlimit(logger_pid(theatre), resource.RLIMIT_FSIZE, (100_000, hard))
    assert flooding(kernel, "v1/log/1001.1", ["seq", "100000", "149999"]).wait(PATIENCE) == 0
    assert awaited(lambda: log.stat().st_size == 100_000)
    resource.prlimit(logger_pid(theatre), resource.RLIMIT_FSIZE, (soft, hard))
    assert awaited(lambda: "were lost here" in log.read_text())  # without another word of the process
    kernel.do("write", name="v1/log/1001.1", index=1, text="after\n")
    assert awaited(lambda: lines(log, halves=1)[-1] == ("1001.1", "after"))
    texts = [text for _, text in lines(log, halves=1)]
    [lost] = [match for match in (re.fullmatch(LOST, text) for text in texts) if match]
    whole = [text for text in texts if re.fullmatch(r"1\d{5}", text)]
    assert lost["reason"] == "File too large"
    assert len(whole) + int(lost["lines"]) == 50_000
    assert ended(theatre, kernel) == 0


def test_an_unfinished_line_is_shown_after_a_while_and_its_rest_goes_on(theatre: Theatre) -> None:
    kernel = opened(theatre)
    kernel.do("store", name="v1/log/1001.1")
    log = theatre.state / "logs" / "1001.log"
    kernel.do("write", name="v1/log/1001.1", index=1, text="name? ")
    assert awaited(lambda: lines(log) == [("1001.1", "name?  [continues]")])
    kernel.do("write", name="v1/log/1001.1", index=1, text="Ada\n")
    assert awaited(lambda: lines(log)[1:] == [("1001.1", "[continued] Ada")])
    assert ended(theatre, kernel) == 0


@pytest.mark.parametrize("line", ["x", "y" * 999 + "\n"], ids=["without an end", "of lines"])
def test_one_large_write_is_not_held_up_by_the_line_that_is_not_finished(theatre: Theatre, line: str) -> None:
    """Its writer finds the pipe never empty, and so tells nobody that it has filled it again; each filling took the time of an unfinished line."""
    kernel = opened(theatre, "[logger]\nrate_limit_kb = 0\n")
    kernel.do("store", name="v1/log/1001.1")
    count = 4_000_000 // len(line)
    assert (
        flooding(kernel, "v1/log/1001.1", [sys.executable, "-c", f"import os; os.write(1, {line.encode()!r} * {count})"]).wait(PATIENCE)
        == 0
    )
    assert ended(theatre, kernel) == 0
    texts = [text for _, text in lines(theatre.state / "logs" / "1001.log")]
    said = "".join(text.removeprefix("[continued] ").removesuffix(" [continues]") for text in texts)
    assert len(said) == count * len(line.rstrip())


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
