"""Hostile texts: whatever is read ends soon, in syntax or in a refusal, and never in anything else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dadms_orchestrators.decision import DecisionError, load_model
from dadms_orchestrators.decision.feel import Source, evaluate_text, unary_tests
from dadms_orchestrators.decision.feel.regex import compile_pattern
from dadms_orchestrators.decision.feel.runtime import Null

seeded = settings(max_examples=400, derandomize=True, deadline=None)

WORDS = [
    "if",
    "then",
    "else",
    "for",
    "in",
    "return",
    "some",
    "every",
    "satisfies",
    "function",
    "external",
    "instance",
    "of",
    "between",
    "and",
    "or",
    "not",
    "true",
    "false",
    "null",
    "date",
    "time",
    "list",
    "context",
    "range",
    "a",
    "b",
    "x",
    "y",
    "item",
    "partial",
    "?",
    "1",
    "2.5",
    ".5",
    "1e3",
    '"s"',
    '@"P1D"',
    "@",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    ".",
    "..",
    "+",
    "-",
    "*",
    "**",
    "/",
    "=",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "->",
    "date",
    "and",
    "time",
    "string",
    "length",
    "sum",
    "count",
    "<list",
    "<number>",
    '"',
    "/*",
    "//",
    "\\",
    "'",
]
texts = st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join) | st.text(max_size=40)


@seeded
@given(texts)
@example("[1..5[, [5..8]]")
@example("not(not(1))")
@example("x in ((((1")
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    for read in (evaluate_text, lambda found: unary_tests(Source(found))):
        with contextlib.suppress(DecisionError):  # a refusal; anything else is a bug
            read(text)


@seeded
@given(st.text("ab[]()^$.|?*+{}\\1,-dpLsiw ", max_size=20), st.sampled_from(["", "i", "x", "smi"]))
def test_any_pattern_is_translated_or_refused(pattern: str, flags: str) -> None:
    with contextlib.suppress(Null):  # a refusal; anything else is a bug
        compile_pattern(pattern, flags)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.recursive(st.sampled_from(["<text>1</text>", "", "<a/>"]), lambda inner: st.builds(
    lambda tag, attributes, parts: f"<{tag} {attributes}>{''.join(parts)}</{tag}>",
    st.sampled_from(["decision", "decisionTable", "input", "output", "rule", "literalExpression", "context", "contextEntry",
                     "invocation", "binding", "inputData", "businessKnowledgeModel", "encapsulatedLogic", "itemDefinition",
                     "decisionService", "functionDefinition", "relation", "row", "list", "for", "filter", "informationRequirement"]),
    st.sampled_from(["", 'name="n"', 'id="i" name="x"', 'href="#i"', 'typeRef="n"', 'hitPolicy="Z"', 'kind="Java"']),
    st.lists(inner, max_size=3),
), max_leaves=15))  # fmt: skip
def test_any_tree_of_elements_is_a_model_or_refused(body: str) -> None:
    with contextlib.suppress(DecisionError):  # a refusal; anything else is a bug
        load_model(f'<definitions xmlns="https://www.omg.org/spec/DMN/20230324/MODEL/" name="m">{body}</definitions>', strict=False)


GROWING: dict[str, Callable[[int], str]] = {
    "open ranges": lambda n: "[1..2[ + " * n,
    "brackets": lambda n: "x[" * (n // 20) + "1",
    "in lists": lambda n: "x in (1, 2) and " * n + "true",
    "words": lambda n: "word " * n,
    "keys": lambda n: "{" + ", ".join(f"k{at}: 1" for at in range(n)) + "}",
    "calls": lambda n: "f(" + "1 + " * n + "1)",
    "strings": lambda n: '"' + "\\" * n,
    "comments": lambda n: "/* *" * n,
    "unknown names": lambda n: " + ".join(f"some name {at}" for at in range(n)),
    "tests": lambda n: "not(" + "1, " * n + "1)",
}


@pytest.mark.parametrize("family", GROWING)
def test_reading_takes_time_in_proportion_to_the_text(family: str) -> None:
    def spent(size: int) -> float:
        text = GROWING[family](size)
        begin = time.process_time()
        with contextlib.suppress(DecisionError):
            unary_tests(Source(text))
        return time.process_time() - begin

    small, large = min(spent(500) for _ in range(3)), min(spent(4_000) for _ in range(3))
    assert large < 0.05 + small * 8 * 6  # eight times the text; quadratic would be 64 times, and is told apart from noise
