"""The matcher without backtracking finds what Python's finds, and ends where Python's does not."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dadms_orchestrators.decision.feel.linear import Linear, Piece
from dadms_orchestrators.decision.feel.regex import _Translator, compile_pattern

atoms = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d"])
times = st.sampled_from(["", "", "*", "+", "?", "{2}", "{1,2}", "{0,3}", "*?", "+?", "??"])
patterns = st.recursive(
    st.tuples(atoms, times).map("".join),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.tuples(inner, times).map(lambda part: f"({part[0]}){part[1]}"),
    ),
    max_leaves=6,
).flatmap(lambda text: st.sampled_from([text, f"^{text}", f"{text}$"]))
texts = st.text("ab1\n", max_size=8)


def may_be_empty(piece: Piece) -> bool:
    match piece.kind:
        case "atom":
            return False
        case "any":
            return any(may_be_empty(part) for part in piece.parts)
        case "times":
            return piece.low == 0 or may_be_empty(piece.parts[0])
    return all(may_be_empty(part) for part in piece.parts)


def repeats_nothing(piece: Piece) -> bool:
    """Say whether a repetition may have rounds without a character, which Python's machine takes for its end."""
    if piece.kind == "times" and piece.high != 1 and may_be_empty(piece.parts[0]):
        return True
    return any(repeats_nothing(part) for part in piece.parts)


@settings(max_examples=600, derandomize=True, deadline=None)
@given(patterns, texts, st.sampled_from(["", "m", "i", "s"]))
def test_both_machines_find_the_same(pattern: str, text: str, flags: str) -> None:
    options = (re.IGNORECASE if "i" in flags else 0) | (re.MULTILINE if "m" in flags else 0)
    translator = _Translator(pattern, flags)
    theirs = re.compile(translator.translate(), options).search(text)
    whole = translator.built.whole()
    ours = Linear(whole, translator.groups, options).search(text)
    assert (ours is None) == (theirs is None)
    if ours is not None and theirs is not None and not repeats_nothing(whole):
        assert (ours.start(), ours.end()) == theirs.span()
        assert [ours.group(number) for number in range(translator.groups + 1)] == [theirs.group(), *theirs.groups()]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(a+)+$", "a" * 2_000 + "!"),
        ("(a|aa)+$", "a" * 2_000 + "b"),
        ("(a*)*b", "a" * 2_000),
        (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 2_000),
    ],
)
def test_patterns_made_to_explode_end(pattern: str, text: str) -> None:
    begin = time.process_time()
    assert compile_pattern(pattern).search(text) is None
    assert time.process_time() - begin < 5  # seconds; backtracking would take longer than the universe has
