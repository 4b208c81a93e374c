"""Patterns of XPath: what they match, and what is no pattern."""

from __future__ import annotations

import pytest

from dadms_orchestrators.decision.feel.regex import compile_pattern, replace_all, split_all
from dadms_orchestrators.decision.feel.runtime import Exceeded, Null


@pytest.mark.parametrize(
    ("pattern", "flags", "text", "found"),
    [
        ("a.c", "", "abc", "abc"),
        ("a.c", "", "a\nc", None),
        ("a.c", "", "a\rc", None),
        ("a.c", "s", "a\nc", "a\nc"),
        ("^b", "", "a\nb", None),
        ("^b", "m", "a\nb", "b"),
        ("a$", "", "a\n", None),
        ("a$", "m", "a\n", "a"),
        ("A b", "xi", "ab", "ab"),
        ("a[ ]b", "x", "a b", "a b"),
        ("a.b", "q", "a.b", "a.b"),
        ("a.b", "q", "axb", None),
        (r"[a-z-[aeiou]]+", "", "aeixyz", "xyz"),
        (r"[^a-c]", "", "abcd", "d"),
        (r"[\s\d]+", "", "a 1 2b", " 1 2"),
        (r"[^\D]", "", "a1", "1"),
        (r"[\D]", "", "1a", "a"),
        (r"[a\-z]+", "", "a-z", "a-z"),
        (r"\p{Lu}", "", "aB", "B"),
        (r"\P{L}", "", "a1", "1"),
        (r"\p{Lu}", "i", "a", None),
        (r"[\p{Lu}x]", "i", "aX", "X"),
        (r"\p{IsGreek}+", "", "abδλ", "δλ"),
        (r"\w+", "", "-é_1$", "é"),  # the underscore is punctuation in XML Schema
        (r"\i\c*", "", "1a-b.c", "a-b.c"),
        (r"(a)(b)?\1", "", "aa", "aa"),
        (r"(?:a|b){2,3}", "", "ababab", "aba"),
        (r"a+?", "", "aaa", "a"),
        (r"\$\^\.\\", "", "$^.\\", "$^.\\"),
    ],
)
def test_a_pattern_matches(pattern: str, flags: str, text: str, found: str | None) -> None:
    match = compile_pattern(pattern, flags).search(text)
    assert (match.group() if match else None) == found


@pytest.mark.parametrize(
    ("pattern", "flags"),
    [
        ("(", ""), (")", ""), ("[", ""), ("[]", ""), ("]", ""), ("}", ""), ("{1}", ""), ("a{2,1}", ""), ("a{,2}", ""), ("*a", ""),
        ("a**", ""), ("a*+", ""), ("(?=a)", ""), ("(?<n>a)", ""), ("(?i)a", ""), (r"\1", ""), (r"(a\1)", ""), (r"[\1]", ""), (r"\q", ""),
        (r"\p{Xx}", ""), (r"\p{IsNowhere}", ""), (r"\pL", ""), ("[z-a]", ""), ("a", "g"), ("\\", ""),
    ],
)  # fmt: skip
def test_what_is_no_pattern_says_so(pattern: str, flags: str) -> None:
    with pytest.raises(Null, match="pattern"):
        compile_pattern(pattern, flags)


@pytest.mark.parametrize("pattern", ["a" * 6_000, "a{99999}", "(" * 101 + ")" * 101, "((a|b){9999}){9999}"])
def test_a_pattern_beyond_a_limit_is_no_null(pattern: str) -> None:
    with pytest.raises(Exceeded, match="pattern"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    ("text", "pattern", "replacement", "flags", "result"),
    [
        ("abab", "(a)(b)", "$2$1", "", "baba"),
        ("abc", "(b)(x)?", "[$2]", "", "a[]c"),
        ("abc", "b", r"\$\\", "", r"a$\c"),
        ("abc", "(b)", "$12", "", "ab2c"),
        ("a.c", ".", "$1", "q", "a$1c"),
        ("aAa", "a", "-", "i", "---"),
    ],
)
def test_replacing(text: str, pattern: str, replacement: str, flags: str, result: str) -> None:
    assert replace_all(text, pattern, replacement, flags) == result


@pytest.mark.parametrize("replacement", ["$", "$x", r"\n", "\\"])
def test_what_is_no_replacement_says_so(replacement: str) -> None:
    with pytest.raises(Null, match="in a replacement"):
        replace_all("abc", "b", replacement, "")


def test_splitting_drops_groups_and_keeps_empty_parts() -> None:
    assert split_all("a1b22c", r"(\d)") == ["a", "b", "", "c"]
