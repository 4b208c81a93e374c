"""A short chaos with a fixed seed; ``make chaos`` is the long one."""

from pathlib import Path

from tests.chaos.storm import chaos


def test_every_invariant_holds_after_some_seconds_of_chaos(short_path: Path) -> None:
    wrong, about = chaos(short_path, seconds=6.0, seed=20)
    assert wrong == [], about
