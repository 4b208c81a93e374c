"""A log in pieces is the same lines as a log at once, and each line says when, by which incarnation, and what."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from dadmsctl.loglines import LineReader, LogLine, read
from dadmsd.logger.lines import Lines, head


@given(st.text(), st.data())
def test_lines_do_not_depend_on_where_the_pieces_end(text: str, data: st.DataObject) -> None:
    content = text.encode(errors="surrogatepass")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=5)))
    reader = LineReader()
    pieces = [content[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(content)])]
    lines = [line for piece in pieces for line in reader.take(piece)]
    lines += reader.end()
    whole = content.decode(errors="replace").split("\n")
    assert lines == (whole if whole[-1] else whole[:-1])


def test_a_line_of_the_logger_is_taken_apart() -> None:
    [text], _ = Lines().take(b"two words  {}\n")
    [line] = LineReader().take(head("1001.2", 1.25) + text + b"\n")
    assert read(line) == LogLine("1970-01-01T00:00:01.250Z", 2, "two words  {}")


def test_a_line_of_a_probe_is_told_from_the_lines_of_its_process() -> None:
    [line] = LineReader().take(head("1001.2.probe", 1.25) + b"fine\n")
    assert read(line) == LogLine("1970-01-01T00:00:01.250Z", 2, "fine", is_probe=True)


def test_what_is_no_line_of_the_logger_is_text_alone() -> None:
    assert read("a disk filled up he").time is None
    assert read("").text == ""
