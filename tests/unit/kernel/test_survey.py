"""What is on the disk is measured, whatever users put there."""

import select
from pathlib import Path

import pytest

from dadmsd.kernel import survey
from dadmsd.kernel.survey import Surveyor, measure


def on_disk(path: Path) -> int:
    return path.lstat().st_blocks * 512


def test_a_tree_takes_what_its_files_and_folders_take(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "large").write_bytes(b"x" * 1_000_000)
    (tree / "a" / "b" / "small").write_bytes(b"x")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"x" * 5_000_000)
    (tree / "link").symlink_to(outside)
    with (tree / "holes").open("wb") as file:
        file.truncate(1 << 40)
    parts = [tree / "a", tree / "a" / "b", tree / "a" / "large", tree / "a" / "b" / "small", tree / "link", tree / "holes"]
    assert measure(tree) == sum(map(on_disk, parts)) < 2_000_000


def test_a_root_that_is_not_there_or_is_a_link_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"x" * 100_000)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert measure(tmp_path / "gone") == 0
    assert measure(tmp_path / "link") == 0


def test_depth_and_number_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path
    for _ in range(survey.DEPTH + 30):
        place /= "d"
    place.mkdir(parents=True)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    assert measure(tmp_path) >= 0
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    for number in range(20):
        (tmp_path / f"file{number}").write_bytes(b"x" * 10_000)
    everything = measure(tmp_path)
    monkeypatch.setattr(survey, "ENTRIES_MOST", 5)
    assert measure(tmp_path) < everything


def test_the_surveyor_wakes_its_owner_and_removes_in_between(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "1001" / "artifacts").mkdir(parents=True)
    (work / "1001" / "artifacts" / "x").write_bytes(b"x" * 100_000)
    (work / "1002" / "artifacts").mkdir(parents=True)
    (work / "1002" / "kept").write_bytes(b"x")
    surveyor = Surveyor([work])
    found: list[int | None] = []
    surveyor.measure()
    surveyor.remove(work / "1001" / "artifacts")
    surveyor.remove(work / "1002" / "artifacts")
    surveyor.measure()
    while len(found) < 3:
        assert select.select([surveyor], [], [], 10.0)[0], "no answer in 10 s"
        found.extend(surveyor.found())
    first, removed, second = found
    assert removed is None, "said once, when both are gone"
    assert first is not None
    assert second is not None
    assert first - second >= 100_000
    assert [path.name for path in work.iterdir()] == ["1002"], "what is empty goes, what is not stays"
    assert [path.name for path in (work / "1002").iterdir()] == ["kept"]
