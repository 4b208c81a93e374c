"""Too few descriptors are said at the start, with both numbers; nothing is started again and again for them."""

import subprocess
import sys
from pathlib import Path


def test_a_daemon_that_may_open_too_few_files_refuses_with_both_numbers(short_path: Path) -> None:
    command = f'ulimit -n 20; exec "{sys.executable}" -m dadmsd --runtime-dir "{short_path}/run" --state-dir "{short_path}/state"'
    done = subprocess.run(["/bin/sh", "-c", command], text=True, capture_output=True, timeout=30, check=False)
    assert done.returncode == 4
    assert "20 open files are allowed (RLIMIT_NOFILE, hard), at least 128 are needed" in done.stderr
