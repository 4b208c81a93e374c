"""Directories that are made, refused and removed."""

import os
from pathlib import Path

import pytest

from dadms_ipc.errors import DadmsError, HostFailure, RequestRefused
from dadmsd.keeper import directories


def test_a_directory_is_made_with_its_parents_and_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        assert directories.prepare(tmp_path / "a" / "b", 0o755) is True
    finally:
        os.umask(umask)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o755
    assert directories.prepare(tmp_path / "a" / "b", 0o700) is False


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_a_directory_that_others_may_write_in_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(RequestRefused, match="others may write in it"):
        directories.prepare(tmp_path, 0o700)


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DadmsError, match="cannot use"):
            directories.prepare(path, 0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 4242, 4242)
    with pytest.raises(RequestRefused, match=r"belongs to uid 4242, not to 0"):
        directories.prepare(tmp_path / "theirs", 0o700)


def test_a_path_too_long_for_its_sockets_is_refused_with_the_numbers() -> None:
    directories.check_length(Path("/" + "x" * 93))
    with pytest.raises(RequestRefused, match="has 108 bytes, at most 107"):
        directories.check_length(Path("/" + "x" * 94))


def test_a_private_daemon_does_not_start_in_a_directory_with_somebodys_files(tmp_path: Path) -> None:
    directories.check_removable(tmp_path)
    (tmp_path / "dadms.log").touch()
    directories.check_removable(tmp_path)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RequestRefused, match=r'"thesis.tex" is in it'):
        directories.check_removable(tmp_path)


def test_only_what_daemons_make_is_swept_and_what_the_next_must_know_at_an_orderly_end(tmp_path: Path) -> None:
    for name in ("control.sock", "data.sock", "config.toml", "epoch", "servers", "mine"):
        (tmp_path / name).touch()
    directories.sweep(tmp_path, is_over=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch", "mine", "servers"]
    directories.sweep(tmp_path, is_over=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    directories.remove(tmp_path, is_private=False, is_made=True)
    assert (tmp_path / "mine").exists()


def test_a_path_that_is_not_utf_8_is_refused_before_anybody_is_told_it() -> None:
    directories.check_sayable(Path("/tmp/caf\u00e9"))
    with pytest.raises(RequestRefused, match=r'cannot use "/tmp/caf\\udce9": its path is not UTF-8'):
        directories.check_sayable(Path(os.fsdecode(b"/tmp/caf\xe9")))


@pytest.mark.parametrize("name", ["control.sock", "epoch.new"])
def test_what_cannot_be_removed_is_refused_at_a_start_and_stays_at_the_end(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / "servers").touch()
    with pytest.raises(HostFailure, match=f'"{name}" is in it, and cannot be removed: Is a directory'):
        directories.sweep(tmp_path, is_over=False)
    directories.sweep(tmp_path, is_over=True)
    assert [each.name for each in tmp_path.iterdir()] == [name]
