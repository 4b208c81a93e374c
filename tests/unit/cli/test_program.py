"""The program itself: exit codes, one line for each error, and no traceback."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dadms_ipc.errors import DadmsError, DeadlinePassed, HostFailure, InternalError, PeerViolation, RequestRefused, Unreachable
from dadmsctl import __main__ as program
from dadmsctl.cli import COMMANDS
from dadmsctl.exits import Exit, code_of

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Give a function that runs the program against a runtime directory where no daemon is."""
    monkeypatch.setenv("DADMS_RUNTIME_DIR", str(tmp_path / "none"))

    def run(*arguments: str) -> tuple[int, str, str]:
        code = program.run(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RequestRefused("x"), Exit.REFUSED),
        (HostFailure("x"), Exit.REFUSED),
        (Unreachable("x"), Exit.NO_DAEMON),
        (DeadlinePassed("x"), Exit.TIMED_OUT),
        (PeerViolation("x"), Exit.FAILED),
        (InternalError("x"), Exit.FAILED),
        (type("Narrower", (RequestRefused,), {})("x"), Exit.REFUSED),
    ],
)
def test_an_error_has_the_exit_code_of_its_side(error: DadmsError, code: Exit) -> None:
    assert code_of(error) == code


def test_an_argument_that_is_not_utf8_is_refused_before_anything(run: Run) -> None:
    """A file name may be any bytes; what is journaled and sent is UTF-8."""
    code, out, err = run("run", "a\udce9.bpmn")
    assert (code, out) == (Exit.USAGE, "")
    assert err.startswith('dadmsctl: cannot read the argument "a')
    assert "it is not UTF-8" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["ps"],
        ["status"],
        ["status", "1001", "--json"],
        ["thread", "ls"],
        ["logs", "1001"],
        ["events"],
        ["kill", "1001"],
        ["wait", "1001"],
        ["shutdown"],
        ["spawn", "bpmn"],
        ["spawn", "web", "--service", "--", "true"],
        ["start", "web"],
        ["stop", "group:a"],
        ["restart", "1001"],
    ],
)
def test_every_command_that_needs_a_daemon_says_so_in_one_line(run: Run, arguments: list[str], tmp_path: Path) -> None:
    code, output, errors = run(*arguments)
    assert (code, output) == (Exit.NO_DAEMON, "")
    assert (
        errors == f'dadmsctl: cannot reach a daemon: none runs on "{tmp_path / "none"}"; dadmsd starts one, dadmsctl run brings its own\n'
    )


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["pss"], "ps"),
        (["ps", "--jsn"], "--json"),
        (["kill"], "TARGET"),
        (["kill", ""], "names no process"),
        (["spawn", "x", "--stop-signal", "NONE", "--", "true"], "there is no signal"),
        (["spawn", "x", "--user", "nobody-at-all", "--", "true"], "there is no user"),
        (["spawn", "bpmn", "--service"], "needs a command behind --"),
        (["spawn", "bpmn", "--memory", "64X"], "64X"),
        (["spawn", "bpmn", "--cpu", "0"], "cores above zero"),
        (["spawn", "bpmn", "--workers", "0"], "0"),
        (["spawn", "x", "--env", "X=1", "--env", "Y=1", "--env", "X=2", "--", "true"], "--env X=… is given 2 times"),
        (["run"], "MODEL"),
        (["run", ""], "it is empty, and names no file"),
        (["run", "x.bpmn", "--handlers", ""], "it is empty, and names no file"),
        (["decision", "eval", ""], "it is empty, and names no file"),
        (["run", "x.bpmn", "--set", "a"], "--set needs name=value"),
        (["--timeout", "-1", "ps"], "seconds above zero"),
        (["--runtime-dir", "", "ps"], "it is empty, and names no directory"),
        (["wait", "1", "--until", "tomorrow"], "tomorrow"),
        (["kill", "99999999999999999999999"], "99999999999999999999999"),
        (["wait", "99999999999999999999999"], "99999999999999999999999"),
        (["status", "99999999999999999999999"], "99999999999999999999999"),
        (["logs", "99999999999999999999999"], "99999999999999999999999"),
        (["thread", "ls", "99999999999999999999999"], "99999999999999999999999"),
        (["thread", "kill", "99999999999999999999999"], "99999999999999999999999"),
        (["events", "--after", "99999999999999999999999"], "99999999999999999999999"),
        (["events", "--pid", "99999999999999999999999"], "99999999999999999999999"),
        (["--timeout", "1e300", "ps"], "too many seconds: 2592000 at most"),
        (["run", "x.bpmn", "--memory", "99999999999999T"], "too large a size: 1024 TiB at most"),
        (["run", "x.bpmn", "--memory", "9" * 400], "too large a size"),
        (["run", "x.bpmn", "--cpu", "1e300"], "too many cores: 1000000 at most"),
        (["run", "x.bpmn", "--pids", "99999999999999999999999"], "99999999999999999999999"),
        (["decision", "eval"], "MODEL"),
        (["decision", "eval", "x.dmn", "--set", "a"], "--set needs name=value"),
        (["decision", "batch", "x.dmn"], "--rows"),
        (["decision", "batch", "x.dmn", "--rows", "r.csv", "--workers", "0"], "0"),
    ],
)
def test_a_mistake_in_the_command_is_one_line_and_code_2(run: Run, arguments: list[str], hint: str) -> None:
    code, output, errors = run(*arguments)
    assert (code, output) == (Exit.USAGE, "")
    assert errors.startswith("dadmsctl: ")
    assert errors.count("\n") == 1
    assert hint in errors


@pytest.mark.parametrize(
    "arguments",
    [[name, "--help"] for name in COMMANDS]
    + [
        ["--help"],
        ["thread", "ls", "--help"],
        *(["decision", name, "--help"] for name in ("eval", "validate", "batch")),
        ["config", "check", "-h"],
        ["--version"],
    ],
)
def test_every_command_has_help(run: Run, arguments: list[str]) -> None:
    code, output, errors = run(*arguments)
    assert (code, errors) == (Exit.DONE, "")
    assert output


@pytest.mark.parametrize("arguments", [[], ["thread"], ["config"], ["decision"]])
def test_a_group_without_a_command_shows_its_help_in_lines(run: Run, arguments: list[str]) -> None:
    code, output, errors = run(*arguments)
    _, helped, _ = run(*arguments, "--help")
    assert code in (Exit.DONE, Exit.USAGE)
    assert (output + errors).strip() == helped.strip()
    assert helped.count("\n") > 5


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["run", "{}/absent.bpmn"], "No such file or directory"),
        (["run", "{}"], "Is a directory"),
        (["run", "{}/absent.dmn"], "No such file or directory"),
        (["decision", "eval", "{}/absent.dmn"], "No such file or directory"),
        (["decision", "validate", "{}"], "Is a directory"),
        (["decision", "batch", "{}/absent.dmn", "--rows", "{}/r.csv"], "No such file or directory"),
        (["run", "{}/x.bpmn", "--input", "{}/absent.json"], "cannot read the input"),
        (["run", "{}/x.bpmn", "--handlers", "{}/absent.py"], "cannot read the handlers module"),
        (["run", "{}/x.bpmn", "--set", "a=NaN"], "NaN is not JSON"),
        (["spawn", "bpmn", "--config", "{}/absent.json"], "cannot read the configuration"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line_before_anything_starts(
    run: Run, arguments: list[str], reason: str, tmp_path: Path
) -> None:
    code, output, errors = run(*(argument.replace("{}", str(tmp_path)) for argument in arguments))
    assert (code, output) == (Exit.REFUSED, "")
    assert errors.startswith("dadmsctl: cannot ")
    assert reason in errors
    assert errors.count("\n") == 1


def test_a_bug_of_ours_is_one_line_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_door: object) -> object:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr("dadmsctl.door.Door.connect", broken)
    code, _, errors = run("ps")
    assert (code, errors) == (Exit.FAILED, "dadmsctl: cannot go on: a bug in dadmsctl: ZeroDivisionError: a b\n")


def test_a_configuration_is_checked_without_a_daemon(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "dadmsd.toml"
    file.write_text("[message_bus]\nmax_queue_size = 5\n")
    assert run("config", "check", str(file)) == (Exit.DONE, f"{file} is in order\n", "")
    code, output, _ = run("config", "check", str(file), "--json")
    assert code == Exit.DONE
    assert '"max_queue_size": 5' in output
    file.write_text("[message_bus]\nmax_queue_sise = 5\n")
    code, output, errors = run("config", "check", str(file))
    assert (code, output) == (Exit.REFUSED, "")
    assert f"{file}:2: " in errors
    assert '"max_queue_size"' in errors


def test_a_reader_that_goes_away_is_no_error_to_speak_of() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run([sys.executable, "-m", "dadmsctl", "--help"], stdout=write_end, stderr=subprocess.PIPE, timeout=30, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (Exit.PIPE_CLOSED, b"")


@pytest.mark.parametrize(
    ("closed", "code", "said"),
    [
        (">&-", Exit.FAILED, "dadmsctl: cannot write: the standard output is closed; nothing was done\n"),
        ("<&- >&- 2>&-", Exit.FAILED, ""),
        ("2>&-", Exit.NO_DAEMON, ""),
        ("2>/dev/full", Exit.NO_DAEMON, ""),
        (
            "<&-",
            Exit.NO_DAEMON,
            'dadmsctl: cannot reach a daemon: none runs on "/nowhere"; dadmsd starts one, dadmsctl run brings its own\n',
        ),
    ],
)
def test_closed_standard_streams_are_no_bug(closed: str, code: Exit, said: str) -> None:
    command = f'exec "$0" -m dadmsctl --runtime-dir /nowhere ps {closed}'
    done = subprocess.run(["/bin/sh", "-c", command, sys.executable], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", said)


def test_an_output_that_has_no_room_is_told_as_that() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-m", "dadmsctl", "--help"], stdout=full, stderr=subprocess.PIPE, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (Exit.FAILED, b"dadmsctl: cannot write: No space left on device\n")


def test_an_output_that_cannot_show_a_letter_is_no_error() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "dadmsctl", "run", "žádný.bpmn"], capture_output=True, env=environment, timeout=30, check=False
    )
    assert done.returncode == Exit.REFUSED
    assert done.stderr.startswith(b'dadmsctl: cannot read the model "')


def test_an_interrupt_that_comes_where_nothing_can_be_raised_comes_once_more() -> None:
    script = """
import signal, time
from dadmsctl import __main__ as program, entry

class Lost:
    def __del__(self):
        raise KeyboardInterrupt

def main():
    Lost()
    time.sleep(60)

program.main = main
entry.main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (130, "")
