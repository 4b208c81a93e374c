"""``dadmsctl logs`` shows one log, whatever files it is in meanwhile."""

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dadmsd.logger import segments
from tests.conftest import Daemon
from tests.integration.cli.conftest import Ctl, Start, await_line

Linear = Callable[..., Path]
Handlers = Callable[[str], Path]
LINES = 24_000
SOURCE = f"""
@handler("talk")
def talk(task):
    for number in range({LINES}):
        print(f"{{number:06d}} {{'x' * 90}}")
    print("that is all", flush=True)
"""


@pytest.fixture
def at(short_path: Path, wait_for: Callable[[Daemon], None], request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Give the options that lead to a daemon with small log files."""
    config = short_path / "dadms.toml"
    config.write_text(getattr(request, "param", "[logger]\nrotate_size_mb = 1\n"))
    daemon = Daemon(short_path, "--config", str(config))
    wait_for(daemon)
    yield "--runtime-dir", str(daemon.runtime_dir)
    daemon.close()


def test_a_log_is_followed_and_read_across_files_that_are_set_aside(
    at: tuple[str, str], ctl: Ctl, start: Start, linear: Linear, handlers: Handlers, short_path: Path
) -> None:
    pid = ctl(*at, "run", linear("talk"), "--handlers", handlers(SOURCE), "--detach").stdout.strip()
    followed, _ = start(*at, "logs", "-f", pid).communicate(timeout=60)
    texts = [re.sub(r"^\S+ \S+ ", "", line) for line in followed.splitlines()]
    numbered = [int(text[:6]) for text in texts if re.match(r"\d{6} x", text)]
    assert numbered == list(range(LINES))
    assert "that is all" in texts
    assert len(segments.listed(short_path / "s" / "logs" / f"{pid}.log.d")) >= 2
    assert ctl(*at, "logs", pid).stdout == followed
    assert ctl(*at, "logs", "-n", "20000", pid).stdout.splitlines() == followed.splitlines()[-20_000:]
    assert ctl(*at, "logs", "--since", "1h", pid).stdout == followed
    assert ctl(*at, "logs", "--since", "2200-01-01", pid).stdout == ""
    refused = ctl(*at, "logs", "--since", "yesterday", pid)
    assert (refused.returncode, "'yesterday' is no moment" in refused.stderr) == (2, True)


@pytest.mark.parametrize("at", ['[logger]\nto = "journald"\n'], indirect=True)
def test_where_logs_go_to_the_journal_it_is_said_where_to_look(at: tuple[str, str], ctl: Ctl, linear: Linear, handlers: Handlers) -> None:
    source = "@handler('quick')\ndef quick(task):\n    return {}\n"
    pid = ctl(*at, "run", linear("quick"), "--handlers", handlers(source), "--detach").stdout.strip()
    told = ctl(*at, "logs", pid)
    assert told.returncode == 4
    assert told.stderr == f"dadmsctl: cannot read the log of {pid}: logs go to the journal, where it is: journalctl DADMS_PID={pid}\n"


@pytest.mark.parametrize("at", ["[logger]\nrotate_size_mb = 1\nkeep_files = 1\n"], indirect=True)
def test_what_is_removed_is_said_to_who_reads_from_the_beginning_and_to_a_follower_who_is_too_slow(
    at: tuple[str, str], ctl: Ctl, start: Start, short_path: Path
) -> None:
    """The bytes that are named and those that are shown are the whole log."""
    go = short_path / "go"
    script = f"echo first; while ! test -e {go}; do sleep 0.05; done; yes {'x' * 90} | head -n 40000; echo last"
    pid = ctl(*at, "spawn", "talk", "--", "/bin/sh", "-c", script).stdout.strip()
    slow = start(*at, "logs", "-f", pid)
    (seen,) = await_line(slow, "first")
    slow.send_signal(signal.SIGSTOP)
    go.touch()
    assert ctl(*at, "wait", pid).returncode == 0
    slow.send_signal(signal.SIGCONT)
    rest, told = slow.communicate(timeout=60)
    done = ctl(*at, "logs", pid)
    assert rest == done.stdout
    assert rest.endswith("last\n")
    removed = re.fullmatch(rf"dadmsctl: bytes 0 to (\d+) of the log of {pid} are removed\n", done.stderr)
    assert removed, done.stderr
    beginning = len(seen) - len("first\n")  # time and incarnation, of every line
    assert int(removed[1]) + 1 + len(done.stdout) == len(seen) + 40_000 * (beginning + 91) + beginning + len("last\n")
    assert told == done.stderr.replace("bytes 0 ", f"bytes {len(seen)} ")
