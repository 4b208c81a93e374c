"""Laws of FEEL's values: literals read back, numbers are decimals of 34 digits, logic has three values, ranges an algebra."""

from __future__ import annotations

import datetime
import itertools
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dadms_orchestrators.decision.feel import evaluate_text
from dadms_orchestrators.decision.feel.calendar import MAX_YEAR, date_from_days, days_from_date, month_length
from dadms_orchestrators.decision.feel.temporal import Date, DateTime, DayTimeDuration, Time, YearMonthDuration
from dadms_orchestrators.decision.feel.temporaltext import parse_temporal
from dadms_orchestrators.decision.feel.values import NUMBERS, compare, equal, show

seeded = settings(max_examples=200, derandomize=True, deadline=None)

numbers = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**20), max_value=10**20)
days = st.integers(days_from_date(-MAX_YEAR, 1, 1), days_from_date(MAX_YEAR, 12, 31))
dates = days.map(Date.from_days)
zones = st.none() | st.integers(-17 * 60, 17 * 60).map(lambda minutes: minutes * 60)
times = st.builds(Time, st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999_999_999), zones)
temporals = (
    dates
    | times
    | st.builds(DateTime, dates, times)
    | st.integers(-(10**25), 10**25).map(DayTimeDuration)
    | st.integers(-(10**9), 10**9).map(YearMonthDuration)
)
names = st.text("abcdefgh_", min_size=1, max_size=6)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@seeded
@given(values)
def test_a_value_written_as_feel_reads_back(value: Any) -> None:
    text = show(value).replace("\\", "\\") if not isinstance(value, str) else show(value)
    assert equal(evaluate_text(text), value) is True


@seeded
@given(temporals)
def test_a_temporal_value_written_out_reads_back(value: Any) -> None:
    found = parse_temporal(str(value))
    assert type(found) is type(value)
    assert found == value
    assert evaluate_text(f'@"{value}"') == value


@seeded
@given(days)
def test_days_and_dates_are_one_to_one(number: int) -> None:
    year, month, day = date_from_days(number)
    assert 1 <= day <= month_length(year, month)
    assert days_from_date(year, month, day) == number


@seeded
@given(st.dates())
def test_the_calendar_agrees_with_pythons_where_that_reaches(day: datetime.date) -> None:
    assert Date(day.year, day.month, day.day).days() == day.toordinal() - datetime.date(1970, 1, 1).toordinal()
    week = evaluate_text(f'week of year(date("{day.year:04d}-{day.month:02d}-{day.day:02d}"))')
    assert week == day.isocalendar().week


@seeded
@given(dates, st.integers(-1200, 1200))
def test_months_added_and_taken_away_land_within_the_shortened_days(day: Date, months: int) -> None:
    env = {"d": day, "m": YearMonthDuration(months)}
    moved = evaluate_text("d + m", env)
    if moved is None:  # beyond the last year
        return
    back = evaluate_text("d + m - m", env)
    assert back.days() <= day.days() <= back.days() + 3


@seeded
@given(numbers, numbers)
def test_arithmetic_is_that_of_34_digits(a: Decimal, b: Decimal) -> None:
    env = {"a": NUMBERS.plus(a), "b": NUMBERS.plus(b)}
    assert evaluate_text("a + b", env) == NUMBERS.add(env["a"], env["b"])
    assert evaluate_text("a * b", env) == NUMBERS.multiply(env["a"], env["b"])
    assert evaluate_text("a - b = -(b - a)", env) is True
    if b:
        assert evaluate_text("a - b * floor(a / b) - modulo(a, b)", {"a": Decimal(int(a)), "b": Decimal(7)}) == 0


LOGIC = (True, False, None)
AND = {(True, True): True, (True, None): None, (None, True): None, (None, None): None}
OR = {(False, False): False, (False, None): None, (None, False): None, (None, None): None}


@pytest.mark.parametrize(("a", "b"), list(itertools.product(LOGIC, LOGIC)))
def test_the_tables_of_three_valued_logic(a: bool | None, b: bool | None) -> None:
    env = {"a": a, "b": b}
    assert evaluate_text("a and b", env) is AND.get((a, b), False)
    assert evaluate_text("a or b", env) is OR.get((a, b), True)
    assert evaluate_text("not(a and b)", env) is evaluate_text("not(a) or not(b)", env)
    assert evaluate_text("all([a, b])", env) is evaluate_text("a and b", env)
    assert evaluate_text("any([a, b])", env) is evaluate_text("a or b", env)
    assert evaluate_text("(a and b) or (a and not(b)) or true", env) is True


ends = st.integers(0, 6)
ranges = st.tuples(ends, ends, st.booleans(), st.booleans()).map(
    lambda r: f"{'[' if r[2] else '('}{min(r[0], r[1])}..{max(r[0], r[1]) + 1}{']' if r[3] else ')'}"
)
POINTS = [Decimal(n) / 2 for n in range(-1, 17)]


def members(text: str) -> frozenset[Decimal]:
    return frozenset(point for point in POINTS if evaluate_text(f"{point} in {text}"))


@seeded
@given(ranges, ranges)
def test_the_algebra_of_ranges_is_that_of_their_points(a: str, b: str) -> None:
    def ask(name: str) -> object:
        return evaluate_text(f"{name}({a}, {b})")

    mine, theirs = members(a), members(b)
    assert ask("includes") is (theirs <= mine)
    assert ask("during") is (mine <= theirs)
    assert ask("coincides") is (mine == theirs)
    assert ask("overlaps") is bool(mine & theirs)
    assert ask("before") is (max(mine) < min(theirs))
    assert ask("after") is (min(mine) > max(theirs))
    assert ask("overlaps before") is evaluate_text(f"overlaps after({b}, {a})")
    assert ask("meets") is evaluate_text(f"met by({b}, {a})")
    assert ask("starts") is evaluate_text(f"started by({b}, {a})")
    assert ask("finishes") is evaluate_text(f"finished by({b}, {a})")
    assert ask("starts") is (min(mine) == min(theirs) and mine <= theirs)
    assert ask("finishes") is (max(mine) == max(theirs) and mine <= theirs)


@seeded
@given(temporals | numbers | st.text(max_size=4), temporals | numbers | st.text(max_size=4))
def test_order_is_antisymmetric_and_agrees_with_equality(a: Any, b: Any) -> None:
    found, reverse = compare(a, b), compare(b, a)
    assert (found is None) == (reverse is None)
    if found is not None:
        assert found == -(reverse or 0)
        assert (found == 0) is (equal(a, b) is True)


@seeded
@given(st.lists(numbers, max_size=8))
def test_sorting_and_extremes_agree(items: list[Decimal]) -> None:
    env = {"xs": items}
    assert evaluate_text("sort(xs, function(a, b) a < b)", env) == sorted(items)
    assert evaluate_text("min(xs)", env) == (min(items) if items else None)
    assert evaluate_text("count(distinct values(xs))", env) == len(set(items))
    assert evaluate_text("reverse(reverse(xs)) = xs", env) is True
    assert evaluate_text("concatenate(xs, xs)[-1] = xs[-1]", env) is True
