"""Who belongs to a tree, told from one look at /proc."""

import os
import signal
import subprocess
import sys

import pytest

from dadmsd.kernel.host.processes import Seen, family, look, send


def seen(pid: int, parent: int = 1, session: int = 1, start: int = 100) -> Seen:
    return Seen(pid, parent, session, start, "S", 1, 0.0, 4096)


def everyone(*processes: Seen) -> dict[int, Seen]:
    return {process.pid: process for process in processes}


def test_a_tree_is_its_leaders_their_sessions_and_all_descendants() -> None:
    host = everyone(
        seen(50, session=50),
        seen(51, parent=50, session=50),
        seen(52, parent=51, session=52),  # left the session, not its parent
        seen(53, parent=52, session=52),
        seen(54, parent=1, session=50),  # left its parent, not the session
        seen(60, parent=1, session=60),
    )
    assert set(family(host, {}, {50: 100})) == {50, 51, 52, 53, 54}


def test_a_member_that_left_everything_is_known_if_it_was_seen_before() -> None:
    host = everyone(seen(50, session=50), seen(70, parent=1, session=70, start=111))
    assert set(family(host, {70: 111}, {50: 100})) == {50, 70}
    assert set(family(host, {70: 110}, {50: 100})) == {50}


def test_a_session_outlives_its_leader() -> None:
    host = everyone(seen(54, parent=1, session=50))
    assert set(family(host, {}, {50: 100})) == {54}


def test_a_number_that_was_given_to_somebody_else_is_not_ours() -> None:
    host = everyone(seen(50, session=50, start=999), seen(51, parent=50, session=50))
    assert family(host, {}, {50: 100}) == {}


def test_a_name_with_brackets_and_blanks_is_read_past() -> None:
    code = "import time\nopen('/proc/self/comm','w').write('a) R (b c')\nprint(flush=True)\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            found = look(child.pid)
            assert found is not None
            assert (found.parent, found.session, found.threads) == (os.getpid(), os.getsid(0), 1)
            assert found.resident > 1 << 20
        finally:
            child.kill()


def test_a_zombie_is_not_alive() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert look(pid) is None
    os.waitpid(pid, 0)


@pytest.mark.parametrize("is_the_same", [True, False])
def test_a_signal_reaches_this_very_process_or_nobody(is_the_same: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found = look(child.pid)
        assert found is not None
        send([found if is_the_same else found._replace(start=found.start - 1)], signal.SIGKILL)
        assert child.stdin is not None
        child.stdin.close()  # EOFError, exit 1, for one that no signal reached
        assert child.wait() == (-signal.SIGKILL if is_the_same else 1)
