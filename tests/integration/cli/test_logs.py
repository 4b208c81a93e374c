"""``dadmsctl logs`` shows one log, whatever files it is in meanwhile."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dadmsd.logger import segments
from tests.conftest import Daemon
from tests.integration.cli.conftest import Ctl, Start

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
