"""FEEL, expression by expression: what it evaluates to, written as FEEL writes it."""

from __future__ import annotations

import pytest

from dadms_orchestrators.decision.errors import LimitExceeded, SyntaxRefused
from dadms_orchestrators.decision.feel import Notes, current, evaluate_text
from dadms_orchestrators.decision.feel.values import show

EXPRESSIONS = {
    "precedence": {
        "1 + 2 * 3": "7",
        "2 ** 3 ** 2": "64",
        "-2 ** 2": "4",
        "(1 + 2) * 3": "9",
        "10 - 3 - 2": "5",
        "1 + 1 = 2 and not(false)": "true",
        "1--1": "2",
        "if 1 < 2 then 1 else 2 + 10": "1",
    },
    "numbers": {
        "0.1 + 0.2 = 0.3": "true",
        "1 / 3": "0.3333333333333333333333333333333333",
        "1 / 0": "null",
        "0 ** 0": "1",
        "12345678901234567890123456789012345 + 0": "12345678901234567890123456789012340",
        "1e3": "1000",
        ".5 + .5": "1",
        "round half up(2.5, 0)": "3",
        "round half down(2.5, 0)": "2",
        "decimal(2.5, 0)": "2",
        "modulo(-12, 5)": "3",
        "modulo(10.1, -4.5)": "-3.4",
    },
    "three values": {
        "true and null": "null",
        "false and null": "false",
        "true or null": "true",
        'false or "x"': "null",
        "not(null)": "null",
        "null = null": "true",
        "null = 1": "false",
        '1 = "1"': "null",
        "1 < null": "null",
        "5 in (null..10]": "null",
    },
    "names": {
        "{monthly salary: 10, tax-rate: 2, r: monthly salary * tax-rate}.r": "20",
        "{a: {b c: 1}}.a.b c": "1",
        "{a+b: 1, c: a+b}.c": "1",
        "{a: 5, b: 3, c: a-b}.c": "2",
        "for loan amount in [1, 2] return loan amount * 2": "[2, 4]",
        "[{unit price: 3}, {unit price: 5}][unit price > 4].unit price": "[5]",
    },
    "lists and filters": {
        "[1,2,3][-1]": "3",
        "[1,2,3][4]": "null",
        "[1,2,3][item > 1]": "[2, 3]",
        "[[1,2],[3]][1][2]": "2",
        "[{x: 1}, {y: 2}].x": "[1, null]",
        "some x in [1,2], y in [x] satisfies y > 1": "true",
        "every x in [] satisfies false": "true",
        "for i in 3..1 return i": "[3, 2, 1]",
        "for i in 1..4 return if i = 1 then 1 else partial[-1] * i": "[1, 2, 6, 24]",
        "flatten([1,[2,[3]]])": "[1, 2, 3]",
        "sort([3,1,2], function(a, b) a > b)": "[3, 2, 1]",
        "list replace([1,2,3], 2, 9)": "[1, 9, 3]",
        "distinct values([1, 1.0, 2])": "[1, 2]",
    },
    "ranges": {
        "[1..10).end included": "false",
        "[1..5[ = [1..5)": "true",
        "3 in [1..3[": "false",
        "(< 5).end": "5",
        "overlaps before([1..5], [3..8])": "true",
        "meets([1..5], [5..10])": "true",
        "during(5, (1..10))": "true",
        'range("[1..3]") = [1..3]': "true",
        'range("[3..1]")': "null",
    },
    "functions": {
        "(function(a, b) a * b)(b: 2, a: 3)": "6",
        "{make: function(a) function(b) a + b, r: make(1)(2)}.r": "3",
        '(function(a: number) a)("x")': "null",
        "(function(a: number) a)([1])": "1",
        'substring(start position: 2, string: "abc")': '"bc"',
        'substring("abc")': "null",
        'substring(text: "abc", start position: 1)': "null",
    },
    "strings": {
        r'"\u00e9\U01F40E\n" = "é🐎' + "\n" + '"': "true",
        '"a\\"b"': '"a\\"b"',
        r'"\d"': r'"\\d"',
        'string length("🐎")': "1",
        'matches("aBc", "[a-z-[b]]{3}", "i")': "false",
        r'matches("é", "^\p{L}$")': "true",
        r'replace("2020-01", "(\d+)-(\d+)", "$2/$1")': '"01/2020"',
        'replace("abc", "x*", "-")': "null",
        'matches("a", "(?=a)")': "null",
        'split("a,b", ",")': '["a", "b"]',
        'string join(["a", null, "b"], "-")': '"a-b"',
    },
    "times": {
        'date("2021-01-31") + duration("P1M")': "2021-02-28",
        '@"2020-02-29" - @"2019-02-28"': "P366D",
        'date("-999999999-01-01") < date("999999999-12-31")': "true",
        '@"2021-03-28T10:00:00@Europe/Paris" = @"2021-03-28T08:00:00Z"': "true",
        '@"12021-03-28T10:00:00@Europe/Paris".time offset': "PT2H",
        'time("23:59:59.123456789+05:30")': "23:59:59.123456789+05:30",
        'time("10:00:00") < time("10:00:00Z")': "null",
        'duration("P1DT2H") * 2': "P2DT4H",
        'duration("P1Y") = duration("P12M")': "true",
        'week of year(date("2005-01-01"))': "53",
        'date("2021-02-29")': "null",
        'date and time(date("2020-01-01"), time("10:00:00"))': "2020-01-01T10:00:00",
    },
    "types": {
        "[1,2] instance of list<number>": "true",
        '[1,"a"] instance of list<number>': "false",
        "{a: 1} instance of context<a: number>": "true",
        "(function(a: number) a) instance of function<number> -> Any": "true",
        "null instance of Any": "false",
        "[1..2] instance of range<number>": "true",
    },
    "comments": {"1 /* one */ + // and\n 1": "2"},
}
CASES = [(text, expected) for family in EXPRESSIONS.values() for text, expected in family.items()]


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[text for text, _ in CASES])
def test_expression(text: str, expected: str) -> None:
    assert show(evaluate_text(text)) == expected


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        ("1 +", 1, 4, "an expression is missing here"),
        ("1 +\n 2 )", 2, 4, '")" cannot follow here'),
        ('"abc', 1, 1, "the string has no end"),
        ("/* abc", 1, 1, "the comment has no end"),
        ("[1..2", 1, 6, "the text ends too early"),
        ("{a 1}", 1, 2, "a name and a colon must stand here"),
        ("a.1", 1, 2, '".1" cannot follow here'),
        ("for x [1] return x", 1, 19, '"in" is missing'),
        ('@"2021-02-30"', 1, 2, '"2021-02-30" is no date, time or duration'),
        ("1 instance of tree", 1, 3, '"tree" is no type that is known here'),
        ("#", 1, 1, "'#' starts nothing in FEEL"),
        ("1e9999", 1, 1, "the number is out of range"),
    ],
)
def test_a_text_that_is_not_feel_says_where(text: str, line: int, column: int, reason: str) -> None:
    with pytest.raises(SyntaxRefused) as refused:
        evaluate_text(text)
    assert (refused.value.place.line, refused.value.place.column, refused.value.reason) == (line, column, reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1, 2][5]", "a list of 2 has no item 5"),
        ('1 + "a"', "number + string has no meaning"),
        ("unknown thing", '"unknown thing" is not known here'),
        ('date("x")', 'date: "x" is no date'),
        ("{a: 1}.b", 'a context has no "b"'),
        ("(function(a) a)(1, 2)", "function: it takes 1 arguments, not 2"),
        ('matches("a", "[")', 'matches: the pattern is wrong: "[" is not closed'),
    ],
)
def test_a_null_says_why(text: str, reason: str) -> None:
    notes = Notes()
    token = current.set(notes)
    try:
        assert evaluate_text(text) is None
    finally:
        current.reset(token)
    assert [why for _, _, why in notes.kept] == [reason]


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5_000 + "1" + ")" * 5_000,
        "[" * 5_000,
        "-" * 5_000 + "1",
        "if true then " * 5_000 + "1",
        "a" + ".b" * 5_000,
        "1 < 2" + " < 2" * 5_000,
        "1 " * 150_000,
        "for " + ", ".join(f"a{n} in [1]" for n in range(5_000)) + " return 1",
        "1 instance of " + "list<" * 5_000,
    ],
    ids=["parentheses", "lists", "signs", "ifs", "paths", "comparisons", "length", "loops", "types"],
)
def test_depth_and_size_are_limited_by_a_clear_error(text: str) -> None:
    with pytest.raises(LimitExceeded, match=r"deeper than|in a row|at most|more than"):
        evaluate_text(text)


def test_a_long_sum_is_no_depth() -> None:
    assert evaluate_text(" + ".join(["1"] * 20_000)) == 20_000
