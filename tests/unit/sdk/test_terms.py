"""What is said of threads besides their arguments is refused where it is said, by name."""

from typing import Any

import pytest

from dadms_ipc.errors import RequestRefused
from dadms_ipc.port import Retry
from dadms_orchestrators.sdk import terms


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("labels", [5], "labels = [5]: Expected `str`, got `int`"),
        (
            "labels",
            ["caf\udce9.csv"],
            "labels = ['caf\\udce9.csv']: 'utf-8' codec can't encode character '\\udce9' in position 3: surrogates not allowed",
        ),
        ("keys", [7], "keys = [7]: Expected `str`, got `int`"),
        ("timeout", "5", "timeout = '5': Expected `float | null`, got `str`"),
        ("priority", 10**30, f"priority = {10**30}: "),
        ("priority", 1.5, "priority = 1.5: Expected `int`, got `float`"),
        ("retry", 5, "retry = 5: Expected `array | null`, got `int`"),
        ("retry", Retry(on=(ConnectionError,)), "retry = Retry("),  # type: ignore[arg-type]  # the class, as Python would have it
        ("group", 5, "group = 5: Expected `str`, got `int`"),
    ],
)
def test_what_cannot_travel_is_refused_with_its_name(name: str, value: Any, words: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        terms.check('submit "work"', **{"labels": ["fine"], "timeout": 5.0, name: value})
    assert str(refused.value).startswith(f'cannot submit "work": {words}')


def test_what_can_travel_passes() -> None:
    terms.check("submit", labels=["ä"], timeout=5, priority=-3, deadline=1.5, retry=Retry(on=("OSError",)), keys=[""], group="g")
