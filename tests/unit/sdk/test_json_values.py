"""What may be a variable, and how what may not is named."""

import enum
import math
from typing import Any

import pytest

from dadms_orchestrators.sdk.json_values import NotJson, as_json


class Colour(enum.IntEnum):
    RED = 3


class Reading(float):
    """A float of some library."""


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({"a": [1, 2.5, "x", None, True]}, {"a": [1, 2.5, "x", None, True]}),
        ((1, (2,)), [1, [2]]),
        (Colour.RED, 3),
        (Reading(1.5), 1.5),
        (2**64 - 1, 2**64 - 1),
        (-(2**63), -(2**63)),
    ],
)
def test_json_comes_out_as_plain_types(value: object, plain: object) -> None:
    copy = as_json(value, "v")
    assert copy == plain
    assert type(copy) is type(plain)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"scores": {"alpha": [1, {2}]}}, '"scores.alpha[1]" is of type set, which is not JSON'),
        ({"x": math.nan}, '"x" is nan, which JSON does not have'),
        ({"x": -math.inf}, '"x" is -inf'),
        ({"x": 2**64}, '"x" is an integer of 65 bits, at most 64 are carried'),
        ({1: "x"}, "the key 1 is of type int, and keys are strings in JSON"),
        ({"a": {None: 1}}, 'the key None in "a" is of type NoneType'),
        ({"f": print}, '"f" is of type builtin_function_or_method'),
        ({"b": b"raw"}, '"b" is of type bytes'),
        ({"c": 1j}, '"c" is of type complex'),
    ],
)
def test_what_is_not_json_is_named_with_its_way_and_type(value: object, text: str) -> None:
    with pytest.raises(NotJson) as caught:
        as_json(value, "")
    assert text in str(caught.value)


def test_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(NotJson, match="more than 64 levels"):
        as_json({"loop": loop}, "")
