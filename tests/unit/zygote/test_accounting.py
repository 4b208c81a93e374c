"""What the host tells about children of this process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dadmsd.zygote import accounting
from dadmsd.zygote.accounting import look_at_exit, start_ticks

BUSY = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\nx = bytearray(60_000_000)"


def await_end(process: "subprocess.Popen[bytes]") -> None:
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def test_a_child_that_runs_has_no_exit() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert look_at_exit(process.pid) is None
        process.kill()


def test_an_exit_is_told_with_what_it_used_and_can_be_told_again() -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY]) as process:
        await_end(process)
        found = look_at_exit(process.pid)
        assert found is not None
        assert (found.how, found.status) == (os.CLD_EXITED, 0)
        assert 0.2 <= found.cpu_seconds < 10.0
        assert 58_000 < found.peak_kb < 1_000_000  # it begins with what this test process has
        assert look_at_exit(process.pid) == found


def test_a_death_by_signal_is_told_with_its_signal() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        process.send_signal(signal.SIGTERM)
        await_end(process)
        found = look_at_exit(process.pid)
        assert found is not None
        assert (found.how, found.status) == (os.CLD_KILLED, signal.SIGTERM)


def test_without_the_system_call_the_time_is_that_of_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY]) as process:
        await_end(process)
        exact = look_at_exit(process.pid)
        monkeypatch.setattr(accounting, "_NUMBER", None)
        found = look_at_exit(process.pid)
        assert exact is not None
        assert found is not None
        assert found.peak_kb == 0
        assert abs(found.cpu_seconds - exact.cpu_seconds) <= 0.03


def test_a_name_with_brackets_and_blanks_does_not_shift_the_fields() -> None:
    script = "open('/proc/self/comm', 'w').write(') x (y z'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        ticks = start_ticks(process.pid)
        process.communicate(b"\n")
    uptime = float(Path("/proc/uptime").read_text().split()[0]) * os.sysconf("SC_CLK_TCK")
    assert uptime - 60 * os.sysconf("SC_CLK_TCK") < ticks <= uptime
