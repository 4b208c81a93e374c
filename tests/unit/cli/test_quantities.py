"""Amounts as people write and read them."""

import click
import pytest

from dadmsctl.quantities import SECONDS_LIMIT, SIZE_LIMIT, ago_text, bytes_text, cores, rates, seconds, seconds_text, size


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1048576", 1048576),
        ("64M", 64 * 1024**2),
        ("64MiB", 64 * 1024**2),
        ("64 mb", 64 * 1024**2),
        ("1.5G", 3 * 1024**3 // 2),
        ("2k", 2048),
        ("7B", 7),
    ],
)
def test_sizes_are_read_with_units_of_1024(text: str, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize("text", ["", "0", "-1", "M", "64X", "1e3", "1,5G", "64MM", "nan", "inf"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no size"):
        size(text)


def test_what_no_daemon_takes_is_refused_and_the_largest_is_not() -> None:
    assert size("1024T") == SIZE_LIMIT
    with pytest.raises(click.BadParameter, match="too large"):
        size("1025T")
    assert seconds(str(SECONDS_LIMIT)) == SECONDS_LIMIT
    with pytest.raises(click.BadParameter, match="too many seconds"):
        seconds(str(SECONDS_LIMIT + 1))


@pytest.mark.parametrize(
    ("text", "count"),
    [("90", 90.0), ("1.5", 1.5), ("500ms", 0.5), ("90s", 90.0), ("10m", 600.0), ("1.5 h", 5400.0), ("1h", 3600.0), ("2d", 172_800.0)],
)
def test_durations_are_seconds_or_say_their_unit(text: str, count: float) -> None:
    assert seconds(text) == count


@pytest.mark.parametrize("text", ["0m", "-1m", "10 min", "m", "1h30m", "10M", "0ms"])
def test_what_is_no_duration_is_refused_with_what_was_written(text: str) -> None:
    with pytest.raises(click.BadParameter, match=f"^'{text}' is no number of seconds above zero"):
        seconds(text)


def test_a_duration_with_a_unit_is_bounded_as_seconds_are() -> None:
    assert seconds("30d") == SECONDS_LIMIT
    assert seconds(5.0) == 5.0, "the default of an option"
    with pytest.raises(click.BadParameter, match="'31d' are too many seconds"):
        seconds("31d")


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "x"])
def test_what_is_no_number_above_zero_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="above zero"):
        cores(text)
    with pytest.raises(click.BadParameter, match="above zero"):
        seconds(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "-"), (1, "1 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (64 * 1024**2, "64 MiB"), (5 * 1024**5, "5120 TiB")],
)
def test_bytes_are_shown_with_the_unit_that_is_short(count: int, text: str) -> None:
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("duration", "text"),
    [(0.0, "0 ms"), (-0.01, "0 ms"), (0.0042, "4 ms"), (0.0994, "99 ms"), (0.0996, "0.10 s"), (9.99, "9.99 s"), (9.996, "10.0 s"), (59.94, "59.9 s"),
     (59.96, "1 min 00 s"), (72, "1 min 12 s"), (3599.6, "1 h 00 min"), (11_100, "3 h 05 min")],
)  # fmt: skip
def test_durations_are_shown_without_jumps_between_units(duration: float, text: str) -> None:
    assert seconds_text(duration) == text


def test_a_moment_that_has_not_been_is_shown_as_none() -> None:
    assert ago_text(0.0, 100.0) == "-"
    assert ago_text(90.0, 100.0) == "10.0 s"


def test_rates_of_a_device() -> None:
    assert rates("/dev/sda:read_bytes=10M,write_ops=100") == ("/dev/sda", {"read_bytes": 10 * 1024**2, "write_ops": 100})
    assert rates("8:0:read_ops=5") == ("8:0", {"read_ops": 5})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/dev/sda", "is no rate of a device"),
        (":read_ops=5", "is no rate of a device"),
        ("/dev/sda:read_byte=5", "did you mean read_bytes?"),
        ("/dev/sda:x=5", "there are read_bytes, write_bytes"),
        ("/dev/sda:read_ops=0", "is no size"),
    ],
)
def test_what_is_no_rate_is_told(text: str, words: str) -> None:
    with pytest.raises(click.BadParameter) as refused:
        rates(text)
    assert words in str(refused.value)
