"""Lock and epoch, on real files."""

import os
import time
from pathlib import Path

import pytest

from dadms_ipc import presence
from dadms_ipc.errors import HostFailure, RequestRefused
from dadmsd.keeper.lock import Lock, next_epoch


def test_a_second_daemon_is_told_who_runs(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    with pytest.raises(RequestRefused, match=rf"another one \(pid {os.getpid()}\) runs on {tmp_path}"):
        Lock(tmp_path)
    lock.release()
    assert list(tmp_path.iterdir()) == []
    Lock(tmp_path).release()


def test_a_lock_that_its_holder_left_is_free(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("4194304\n")
    lock = Lock(tmp_path)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_lock_is_not_followed_to_somewhere_else(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostFailure):
        Lock(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_epochs_count_on_over_keepers(tmp_path: Path) -> None:
    assert [next_epoch(tmp_path), next_epoch(tmp_path)] == [1, 2]
    assert (tmp_path / "epoch").read_text() == "2\n"


def test_an_unreadable_epoch_is_replaced_by_one_that_nobody_can_have_seen(tmp_path: Path) -> None:
    (tmp_path / "epoch").write_text("")
    before = int(time.time())
    assert before < next_epoch(tmp_path) <= time.time() + 1


def test_an_epoch_that_a_full_disk_kept_off_the_disk_is_never_given_again(tmp_path: Path) -> None:
    assert next_epoch(tmp_path) == 1
    assert next_epoch(tmp_path, above=5) == 6  # 2 to 5 could not be written
    assert next_epoch(tmp_path) == 7


def test_a_lock_that_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(HostFailure, match='lock": it is no regular file'):
        Lock(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xbe\xff" * 100, b"4194304\n"])
def test_a_lock_that_nobody_holds_is_nobodys_whatever_is_in_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lock").write_bytes(content)
    assert presence.lock_holders(tmp_path) == []


def test_whether_somebody_holds_a_lock_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")
    assert presence.lock_holders(tmp_path) == []
