"""The check for leaks finds each kind of leak, and nothing when there is none: a check that cannot fail would be worth nothing."""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests import leaks


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "GRACE", 0.05)


def test_nothing_is_found_when_nothing_is_left() -> None:
    before = leaks.look()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    leaks.check(before)


def _is_detached(pid: int) -> bool:
    """Tell whether a process is in a session that is neither ours nor its own: what a double fork leaves."""
    try:
        return os.getsid(pid) not in (pid, os.getsid(0))
    except ProcessLookupError:
        return False


def test_a_process_that_was_detached_twice_is_found_by_number_and_killed() -> None:
    before = leaks.look()
    code = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(1000)\n"
    subprocess.run([sys.executable, "-c", code], check=True)
    while len(found := leaks.look().processes - before.processes) != 1 or not _is_detached(min(found)):
        os.sched_yield()  # the one in the middle is on its way out
    (left,) = found
    with pytest.raises(AssertionError, match=f"process {left}: "):
        leaks.check(before)
    os.waitpid(left, 0)
    leaks.check(before)


def test_a_file_where_temporary_files_go_is_found() -> None:
    before = leaks.look()
    handle, name = tempfile.mkstemp(prefix="dadms-")
    os.close(handle)
    with pytest.raises(AssertionError, match=Path(name).name):
        leaks.check(before)
    Path(name).unlink()
    leaks.check(before)


def test_shared_memory_is_found() -> None:
    before = leaks.look()
    path = Path(f"/dev/shm/dadms-test-{os.getpid()}")
    path.touch()
    try:
        with pytest.raises(AssertionError, match=path.name):
            leaks.check(before)
    finally:
        path.unlink()
    leaks.check(before)


def test_shared_memory_that_somebody_else_uses_is_not_ours() -> None:
    """Another session on the machine, a benchmark for instance."""
    path = Path(f"/dev/shm/dadms-test-other-{os.getpid()}")
    code = f"import mmap, sys\ninput()\nfile = open({str(path)!r}, 'w+b')\nfile.truncate(4096)\nheld = mmap.mmap(file.fileno(), 4096)\nprint('held', flush=True)\ninput()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdin is not None
    assert other.stdout is not None
    try:
        before = leaks.look()
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.stdout.readline() == "held\n"
        leaks.check(before)
        other.communicate("\n", timeout=20)
        with pytest.raises(AssertionError, match=path.name):
            leaks.check(before)
    finally:
        other.kill()
        other.communicate()
        path.unlink(missing_ok=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="making cgroups takes root here")
def test_a_group_is_found_unless_somebody_else_lives_in_it() -> None:
    before = leaks.look()
    places = sorted({str(Path(place)) for place in leaks.places()})
    if not places:
        pytest.skip("no cgroups are mounted here")
    group = Path(places[0], f"dadms-test-leak-{os.getpid()}")
    group.mkdir()
    try:
        with pytest.raises(AssertionError, match=group.name):
            leaks.check(before)
    finally:
        group.rmdir()
    leaks.check(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="making cgroups takes root here")
def test_the_group_of_anothers_idle_daemon_is_not_ours() -> None:
    """A session beside this one: its daemon is no descendant of ours, and has no process in its group yet."""
    if not (places := sorted({str(Path(place)) for place in leaks.places()})):
        pytest.skip("no cgroups are mounted here")
    directory = f"/somewhere/{os.getpid()}"
    group = Path(places[0], f"dadms-{hashlib.sha256(directory.encode()).hexdigest()[:8]}")
    code = "import sys; sys.stdin.read()"
    before = leaks.look()
    with subprocess.Popen([sys.executable, "-c", code, "--runtime-dir", directory], stdin=subprocess.PIPE) as keeper:
        group.mkdir()
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(leaks, "descendants", lambda _root: set())  # as if another had started it
                leaks.check(before)
            with pytest.raises(AssertionError, match=group.name):
                leaks.check(before)
        finally:
            group.rmdir()
            keeper.communicate()


def test_a_child_that_waits_for_its_popen_is_no_leak_and_keeps_its_exit_code() -> None:
    before = leaks.look()
    child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.005)
    leaks.check(before)
    assert child.wait() == 7


def test_one_that_ends_within_the_grace_is_no_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "GRACE", 10.0)
    before = leaks.look()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.2)"])
    leaks.check(before)
    assert child.wait() == 0


def test_who_runs_the_tests_is_the_parent_of_orphans() -> None:
    code = "import os\nif os.fork() == 0:\n    import time; time.sleep(0.2); os._exit(0)\n"
    child = subprocess.run([sys.executable, "-c", code + "else:\n    pass"], check=True)
    assert child.returncode == 0
    orphans = [
        pid for pid in leaks.look().processes if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid())
    ]
    assert orphans
    for pid in orphans:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
