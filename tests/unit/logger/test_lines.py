"""Lines are framed whatever the pieces in which they come, and what has no end waits."""

from hypothesis import given
from hypothesis import strategies as st

from dadmsd.logger.lines import CONTINUED, CONTINUES, LINE_LIMIT, Lines, head, moment


def framed(chunks: list[bytes]) -> list[bytes]:
    """Frame what comes in pieces, the rest of each waiting for the next."""
    lines, waiting, out = Lines(), b"", []
    for chunk in chunks:
        waiting += chunk
        texts, size = lines.take(waiting)
        out += texts
        waiting = waiting[size:]
    texts, size = lines.take(waiting, is_last=True)
    assert size == len(waiting)
    return out + texts


@given(st.lists(st.binary(max_size=40)))
def test_where_a_line_is_cut_makes_no_difference(chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    expected = whole.split(b"\n")
    assert framed(chunks) == (expected if expected[-1] else expected[:-1])


def test_a_line_beyond_the_limit_is_split_and_its_pieces_are_marked() -> None:
    text = bytes(65 + place % 26 for place in range(LINE_LIMIT * 2 + 100))
    pieces = framed([text[:30_000], text[30_000:] + b"\nnext\n"])
    assert pieces[-1] == b"next"
    assert all(piece.endswith(CONTINUES) for piece in pieces[:-2])
    assert all(piece.startswith(CONTINUED) for piece in pieces[1:-1])
    assert b"".join(piece.removeprefix(CONTINUED).removesuffix(CONTINUES) for piece in pieces[:-1]) == text


def test_an_unfinished_line_is_not_taken() -> None:
    assert Lines().take(b"one\ntw") == ([b"one"], 4)
    assert Lines().take(b"tw") == ([], 0)


def test_what_is_cut_because_it_waited_long_goes_on_as_a_continued_line() -> None:
    lines = Lines()
    assert lines.cut(b"name? ") == ([b"name? " + CONTINUES], 6)
    assert lines.take(b"Ada\n") == ([CONTINUED + b"Ada"], 4)
    assert lines.take(b"next\n") == ([b"next"], 5)


def test_lines_are_passed_over_whole() -> None:
    lines = Lines()
    assert lines.skip(b"a\nb\nrest") == (2, 4)
    assert lines.skip(b"rest") == (0, 0)
    assert lines.skip(b"x" * (LINE_LIMIT + 1)) == (1, LINE_LIMIT + 1)  # of a line without end
    assert lines.take(b"end\n") == ([CONTINUED + b"end"], 4)


def test_the_time_of_a_line_can_be_read_again() -> None:
    assert head("1001.1", 1_795_366_535.1234) == b"2026-11-22T16:55:35.123Z 1001.1 "
    assert moment(head("1001.1", 1_795_366_535.1234) + b"text") == 1_795_366_535.123
    assert moment(b"something else") is None
    assert moment(b"") is None


def test_each_run_of_a_probe_is_lines_of_its_own_and_its_empty_lines_are_none() -> None:
    lines = Lines(has_runs=True)
    assert lines.take(b"ok\n\nok\n\n\n") == ([b"ok", b"ok"], 9)
    assert lines.take(b"\n") == ([], 1)
    assert lines.cut(b"slow") == ([b"slow" + CONTINUES], 4)
    assert lines.take(b"\n\n") == ([CONTINUED], 2), "what was cut has its end"
