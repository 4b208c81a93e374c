"""What all processes together may use is held by the host, not only reckoned."""

from pathlib import Path

import pytest

from dadms_ipc.errors import RequestRefused
from tests.fault.kernel.daemon import MEBIBYTE, client, daemon, ended, spawn
from tests.fault.kernel.test_workers import has_memory_groups


@pytest.mark.skipif(not has_memory_groups(), reason="this host delegates no memory cgroup")
def test_a_limit_above_the_budget_is_refused_with_both_numbers(short_path: Path) -> None:
    """Nothing is started."""
    with daemon(short_path) as made, client(made) as door, pytest.raises(RequestRefused, match=r"a memory limit of 100 GiB asked.* 4 GiB"):
        spawn(door, short_path / "ledger", [], memory=100 * 1024 * MEBIBYTE)


@pytest.mark.skipif(not has_memory_groups(), reason="this host delegates no memory cgroup")
def test_a_process_without_a_limit_is_held_to_the_budget(short_path: Path) -> None:
    """With 128 MiB for all, a thread that takes 400 MiB ends with cause oom; the next one runs."""
    config = short_path / "dadmsd.toml"
    config.write_text("[resource_manager]\nmemory_limit_mb = 128\n")
    with daemon(short_path, "--config", str(config)) as made, client(made) as door:
        pid = spawn(door, short_path / "ledger", [[["grow", 400, None]], [["work", 0.0, None]]], workers=1)
        results = ended(door, pid).outcome["results"]  # type: ignore[index]  # the script's outcome
        assert [result[:2] for result in results] == [["error", "oom"], ["completed", ""]]
