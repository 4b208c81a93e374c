"""What is said on descriptor 2 is there, or it is lost; nobody ends or waits for it."""

import os
import resource
import select
import subprocess
import sys
from pathlib import Path

import pytest

from dadmsd.stderr import say, say_all

PROGRAM = "import sys; from dadmsd.stderr import say, say_all; say('one'); say_all('two\\n'); sys.stdout.write('went on')"


def went_on(stderr: int, *, file_size: int | None = None) -> bool:
    """Tell whether a program that says something there comes to its end."""
    limit = None if file_size is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    done = subprocess.run(  # the limit is what is tested
        [sys.executable, "-c", PROGRAM], stderr=stderr, stdout=subprocess.PIPE, preexec_fn=limit, timeout=30, check=False
    )  # fmt: skip
    return (done.returncode, done.stdout) == (0, b"went on")


def test_a_file_that_takes_nothing_costs_the_line_alone(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        assert went_on(log.fileno(), file_size=0)
    assert (tmp_path / "log").read_bytes() == b""


def test_a_full_device_costs_the_line_alone() -> None:
    with Path("/dev/full").open("wb") as full:
        assert went_on(full.fileno())


def test_a_pipe_without_a_reader_costs_the_line_alone() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    assert went_on(writer)
    os.close(writer)


def test_a_closed_descriptor_costs_the_line_alone() -> None:
    done = subprocess.run(["/bin/sh", "-c", f'exec "{sys.executable}" -c "$0" 2>&-', PROGRAM], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, b"went on")


def test_nobody_waits_for_a_reader_that_does_not_read(capfd: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writer, True)
    say("nobody reads this", to=writer)
    assert not select.select([], [writer], [], 0.0)[1]
    os.close(reader)
    os.close(writer)
    assert capfd.readouterr().err == ""


def test_a_line_is_whole_or_cut_at_what_a_pipe_takes_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    say("a line with \udcff in it")
    say("x" * 10_000)
    assert capfd.readouterr().err == "a line with \\udcff in it\n" + "x" * (select.PIPE_BUF - 1) + "\n"


def test_a_long_text_is_written_to_its_end(capfd: pytest.CaptureFixture[str]) -> None:
    say_all("y" * 100_000)
    assert capfd.readouterr().err == "y" * 100_000


SERVERS = ("bus", "kernel", "keeper", "logger", "worker", "zygote")


@pytest.mark.parametrize("server", SERVERS)
def test_no_server_writes_to_its_log_in_any_other_way(server: str) -> None:
    """print, sys.stderr.write and traceback.print_exc raise where the log takes nothing."""
    folder = Path(__file__).parents[2] / "dadmsd" / server
    offences = [
        f"{path.relative_to(folder)}:{number}"
        for path in folder.rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "stderr.write(" in line or "file=sys.stderr" in line or "print_exc(" in line
    ]
    assert [each for each in offences if not each.startswith("__main__")] == []
