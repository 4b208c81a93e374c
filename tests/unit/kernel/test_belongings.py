"""Files that are removed under those who have them open."""

from pathlib import Path

from dadms_ipc import requests
from dadmsd.kernel.belongings import BUS, KERNEL, LOSSES, Belongings
from dadmsd.kernel.core import events
from tests.unit.kernel.driver import Driver


def sentence(directory: Path, name: str) -> str:
    return f'"{directory / name}" was removed or replaced: {LOSSES[name]}'


def test_a_file_that_was_seen_and_is_gone_or_another_is_told_once(tmp_path: Path) -> None:
    belongings = Belongings(str(tmp_path))
    assert belongings.news() == [], "a bus that starts has not made its file yet"
    for name in (KERNEL, BUS):
        (tmp_path / name).touch()
    assert belongings.news() == []
    (tmp_path / "new").touch()
    (tmp_path / "new").replace(tmp_path / KERNEL)
    assert belongings.news() == [events.FilesGone((sentence(tmp_path, KERNEL),))]
    assert belongings.news() == []
    (tmp_path / BUS).unlink()
    assert belongings.news() == [events.FilesGone((sentence(tmp_path, KERNEL), sentence(tmp_path, BUS)))]


def test_the_file_of_a_bus_that_was_started_again_may_be_another(tmp_path: Path) -> None:
    belongings = Belongings(str(tmp_path))
    (tmp_path / BUS).touch()
    assert belongings.news() == []
    (tmp_path / BUS).unlink()
    assert belongings.renew(BUS) == [events.FilesGone((sentence(tmp_path, BUS),))], "nobody had looked before it ended"
    assert belongings.news() == [events.FilesGone(())]
    (tmp_path / BUS).touch()
    assert belongings.news() == []


def test_what_is_gone_is_an_event_once_and_in_the_status_until_it_is_there_again() -> None:
    driver = Driver()
    for texts in (("a",), ("a", "b"), ("b",)):
        driver.give(events.FilesGone(texts))
    assert [info.text for info in driver.state.events if info.kind == "journal.removed"] == ["a", "b"]
    assert driver.answer(requests.Status()).gone == ["b"]
