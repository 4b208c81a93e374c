"""Artifacts between real processes, the limit of the disk, and what is left of them."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from dadms_ipc.artifacts import FOLDER
from dadms_ipc.client import Client
from dadms_ipc.errors import RequestRefused
from dadms_ipc.requests import Spawn, Spec
from tests.fault.kernel.daemon import MEBIBYTE, client, daemon, ended, kill_server
from tests.fault.kernel.test_context import outcome, start


def chain(door: Client, size: int) -> int:
    """Start a process whose threads hand an artifact of so many bytes around."""
    return start(door, [], workers=2, chain=size)


def until(is_so: Callable[[], bool], *, seconds: float = 10.0) -> None:
    """Wait for a fact of the file system."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        os.sched_yield()


def test_main_and_threads_hand_a_large_value_around_by_reference(short_path: Path) -> None:
    """Sixteen times what a result may have; the file stays when its process has ended, and when the kernel is killed."""
    with daemon(short_path) as made, client(made) as door:
        pid = chain(door, 4 * MEBIBYTE)
        came = outcome(door, pid)
        assert came["main"] == [4 * MEBIBYTE, 255]
        assert came["threads"] == [[4 * MEBIBYTE, 255, []], [11, ord("n"), []]]
        folder = made.state_dir / "work" / str(pid) / FOLDER
        kept = {path.name for path in folder.iterdir()}
        assert came["reference"]["data"]["$artifact"] in kept
        kill_server(door, "kernel")
        assert ended(door, pid).status == "completed"
        assert {path.name for path in folder.iterdir()} == kept


def test_beyond_the_limit_nothing_is_kept_and_nothing_started(short_path: Path) -> None:
    """16 MiB for all: 20 are refused with the numbers, 12 fit, 8 more do not; a process is refused once the disk is full, and room that is made counts."""
    config = short_path / "dadmsd.toml"
    config.write_text("[resource_manager]\ndisk_limit_mb = 16\n")
    with daemon(short_path, "--config", str(config)) as made, client(made) as door:
        info = ended(door, chain(door, 20 * MEBIBYTE))
        assert info.status == "failed"
        assert info.reason.startswith("cannot keep an artifact: artifacts, logs and working directories have ")
        assert info.reason.endswith("and this takes 20 MiB, at most 16 MiB (disk_limit_mb)")
        assert outcome(door, chain(door, 12 * MEBIBYTE))["main"][0] == 12 * MEBIBYTE
        assert "and this takes 8 MiB" in ended(door, chain(door, 8 * MEBIBYTE)).reason
        ballast = made.state_dir / "work" / "ballast"
        ballast.write_bytes(bytes(8 * MEBIBYTE))
        until(lambda: bool(_refusal(door)))  # the refusals of artifacts have it measured anew
        assert _refusal(door).startswith('cannot start "context": artifacts, logs and working directories have ')
        assert _refusal(door).endswith(", at most 16 MiB (disk_limit_mb)")
        ballast.unlink()
        until(lambda: not _refusal(door))


def _refusal(door: Client) -> str:
    """Start a process and wait for its end; gives why it was refused, "" when it was not."""
    try:
        ended(door, chain(door, 8 * MEBIBYTE))
    except RequestRefused as error:
        return str(error)
    return ""


def test_artifacts_of_nobody_are_removed_by_the_next_daemon(short_path: Path) -> None:
    """A kernel died after a process had left the table; what else is in its directory stays, as ever."""
    work = short_path / "s" / "work"
    for pid in (7001, 7002):
        (work / str(pid) / FOLDER).mkdir(parents=True)
        (work / str(pid) / FOLDER / "x").write_bytes(b"x")
    (work / "7002" / "report.txt").write_text("kept")
    with daemon(short_path) as made, client(made):
        until(lambda: [path.name for path in work.iterdir()] == ["7002"])
        until(lambda: [path.name for path in (work / "7002").iterdir()] == ["report.txt"])


def test_an_empty_working_directory_goes_after_the_end_whichever_kernel_is_there_then(short_path: Path) -> None:
    """It goes in a quiet moment of the kernel, or of the next; what a process left in it stays."""
    with daemon(short_path) as made, client(made) as door:
        work = made.state_dir / "work"
        for round_ in range(4):
            empty, full = (
                int(door.call(Spawn(Spec("w", kind="tool", command=["sh", "-c", script])))["pid"]) for script in ("pwd", "touch report.txt")
            )
            assert ended(door, empty).status == ended(door, full).status == "completed"
            if round_ % 2:
                kill_server(door, "kernel")
            until(lambda: not any(path.name == str(empty) for path in work.iterdir()))  # noqa: B023 -- it is asked before the next round
            assert [path.name for path in (work / str(full)).iterdir()] == ["report.txt"]
