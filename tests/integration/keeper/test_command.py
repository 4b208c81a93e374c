"""``dadmsd``, as a person meets it: one line that says what is wrong, an exit code, and no traceback."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dadms_ipc import requests
from dadms_ipc.client import Client
from dadmsd.__main__ import main
from dadmsd.keeper import program  # noqa: F401 - a test forks a user who could not load it
from tests.integration.keeper.theatre import PATIENCE


def dadmsd(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dadmsd", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
    )


def test_help_and_version_are_answered_without_loading_the_daemon() -> None:
    shown = dadmsd("--help")
    assert shown.returncode == 0
    for word in ("--config", "--runtime-dir", "--state-dir", "--lease-fd", "Exit codes"):
        assert word in shown.stdout
    assert dadmsd("--version").stdout == "dadmsd 0.1.0\n"
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "dadmsd", "--version"], capture_output=True, text=True, timeout=PATIENCE, check=True
    ).stderr
    assert "msgspec" not in loaded
    assert "dadmsd.keeper" not in loaded


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--bogus"], 2, "unrecognized arguments: --bogus"),
        (["--conf", "x"], 2, "unrecognized arguments: --conf x"),
        (["--lease-fd", "x"], 2, "argument --lease-fd: invalid int value: 'x'"),
        (["--lease-fd", "99", "--runtime-dir", "{}"], 2, "cannot use descriptor 99 as a lease: Bad file descriptor"),
        (["--lease-fd", "0", "--runtime-dir", "{}"], 2, "cannot use descriptor 0 as a lease: it is not the read end of a pipe"),
        (["--config", "{}/none.toml"], 2, 'none.toml": No such file or directory'),
        (["--config", "{}/wrong.toml"], 2, 'wrong.toml": line 2: [message_bus] unknown key "max_queue"; did you mean "max_queue_size"?'),
        (["--runtime-dir", "{}/file"], 4, 'file": it is not a directory'),
        (["--runtime-dir", "{}/open"], 4, 'open": others may write in it (mode 0777)'),
        (["--runtime-dir", "{}/file/below"], 4, 'file/below": "'),
        (["--runtime-dir", "{}/r", "--state-dir", "{}/file"], 4, 'file": it is not a directory'),
        (["--runtime-dir", "{}/" + "x" * 100], 4, "bytes, at most 107 are possible"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_with_an_exit_code(short_path: Path, arguments: list[str], code: int, said: str) -> None:
    (short_path / "file").touch()
    (short_path / "open").mkdir()
    (short_path / "open").chmod(0o777)
    (short_path / "wrong.toml").write_text("[message_bus]\nmax_queue = 3\n")
    before = sorted(short_path.iterdir())
    done = dadmsd(*(argument.format(short_path) for argument in arguments))
    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.startswith(("dadmsd: ", "usage: dadmsd"))
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert sorted(short_path.iterdir()) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_directory_that_one_may_not_write_in_is_refused(short_path: Path) -> None:
    """An ordinary user and a directory of root's."""
    short_path.chmod(0o755)
    short_path.parent.chmod(0o755)

    said, output = os.pipe()
    child = os.fork()  # the Python that runs this need not be readable for anybody else: what is needed is loaded
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        sys.stderr = os.fdopen(output, "w")
        code = main(["--runtime-dir", str(short_path / "r"), "--state-dir", str(short_path / "s")])
        sys.stderr.flush()
        os._exit(code)
    os.close(output)
    with os.fdopen(said) as text:
        assert text.read() == f'dadmsd: cannot use "{short_path}/r": Permission denied\n'
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4


def test_the_environment_names_the_directories(short_path: Path) -> None:
    (short_path / "file").touch()
    done = dadmsd(DADMS_RUNTIME_DIR=str(short_path / "file"))
    assert (done.returncode, done.stderr) == (4, f'dadmsd: cannot use "{short_path}/file": it is not a directory\n')


def test_the_soft_limit_of_descriptors_is_raised_to_the_hard_one(short_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    code = (
        "import sys, resource, pathlib; from dadmsd.keeper import program; from dadmsd.keeper.servers import ServerCommand\n"
        "print(program.run(runtime_dir=pathlib.Path(sys.argv[1]) / 'r', state_dir=pathlib.Path(sys.argv[1]) / 's', config=None, lease_fd=None,\n"
        "    commands=tuple(ServerCommand(name, ('/bin/false',)) for name in ('zygote', 'kernel', 'bus', 'logger'))))\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
    )
    done = subprocess.run(
        ["prlimit", "--nofile=300:", sys.executable, "-c", code, short_path], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert done.stdout.split() == ["1", str(hard)]


def test_closed_standard_streams_and_blocked_signals_do_no_harm(short_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})\n"
        "os.closerange(0, 3)\n"
        f"os.execv(sys.executable, [sys.executable, '-m', 'dadmsd', '--runtime-dir', {str(short_path / 'r')!r}, '--state-dir', {str(short_path / 's')!r}])\n"
    )
    daemon = subprocess.Popen([sys.executable, "-c", code])
    try:
        with Client(runtime_dir=short_path / "r", timeout=PATIENCE, start_timeout=PATIENCE) as client:
            assert client.call(requests.Status())
        daemon.terminate()
        assert daemon.wait(PATIENCE) == 0
    finally:
        daemon.kill()
        daemon.wait()


def test_a_daemon_under_nohup_outlives_its_terminal(short_path: Path) -> None:
    daemon = subprocess.Popen(
        [
            "sh",
            "-c",
            f"trap '' HUP; exec {sys.executable} -m dadmsd --runtime-dir {short_path}/r --state-dir {short_path}/s 2>{short_path}/stderr",
        ]
    )
    try:
        with Client(runtime_dir=short_path / "r", timeout=PATIENCE, start_timeout=PATIENCE) as client:
            client.call(requests.Status())
            daemon.send_signal(signal.SIGHUP)
            assert client.call(requests.Status())
        daemon.terminate()
        assert daemon.wait(PATIENCE) == 0
        assert "SIGHUP" not in (short_path / "stderr").read_text()
    finally:
        daemon.kill()
        daemon.wait()


@pytest.mark.parametrize("milliseconds", range(0, 700, 60))
def test_ctrl_c_at_any_moment_of_its_start_ends_it_in_order(milliseconds: int, short_path: Path, no_leaks: None) -> None:
    """The moments are those of a start on a quiet machine; wherever it is by then, the answer is the same."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "dadmsd", "--runtime-dir", short_path / "r", "--state-dir", short_path / "s"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while not process.stderr.readline().endswith(" signal\n"):
        assert process.poll() is None  # what the interpreter does before our first lines is not ours
    time.sleep(0.002 + milliseconds / 1000)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert not re.search("dadmsd: stopping.*dadmsd: ready on", errors, re.DOTALL)


def test_a_path_that_is_not_utf_8_is_refused_in_a_line(short_path: Path) -> None:
    strange = Path(os.fsdecode(os.fsencode(short_path) + b"/caf\xe9"))
    done = dadmsd("--runtime-dir", strange, "--state-dir", short_path / "s")
    assert (done.returncode, done.stderr) == (4, f'dadmsd: cannot use "{short_path}/caf\\udce9": its path is not UTF-8\n')
    assert not (short_path / "s").exists()
