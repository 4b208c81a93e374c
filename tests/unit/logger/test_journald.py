"""Lines reach a journal's socket whole and once, wait for one that is busy, and are counted when it stays away."""

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from dadmsd.logger import journald
from dadmsd.logger.losses import Losses
from dadmsd.logger.rate import Allowance
from dadmsd.logger.sink import Busy, Sink, Unwritten


def fields(datagram: bytes) -> dict[str, bytes]:
    """Read the native protocol."""
    found: dict[str, bytes] = {}
    while datagram:
        name, _, rest = datagram.partition(b"\n")
        if b"=" in name:
            key, _, value = name.partition(b"=")
            found[key.decode()], datagram = value, rest
        else:
            [size] = struct.unpack("<Q", rest[:8])
            found[name.decode()], datagram = rest[8 : 8 + size], rest[8 + size + 1 :]
    return found


@pytest.fixture
def place(short_path: Path) -> str:
    return str(short_path / "journal")


@pytest.fixture
def listener(place: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(place)
        made.setblocking(False)
        yield made


@pytest.fixture
def journal(place: str) -> Iterator[journald.Journal]:
    made = journald.Journal(place)
    yield made
    made.close()


def received(listener: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(fields(listener.recv(1 << 20))["MESSAGE"])
        except BlockingIOError:
            return found


def test_a_line_has_its_process_its_priority_and_its_bytes(journal: journald.Journal, listener: socket.socket) -> None:
    log = journald.JournalLog(journal, "1001")
    log.write([b"any bytes: \x00\xff = \x1b"], "1001.2", 0.0)
    found = fields(listener.recv(1 << 20))
    assert found["MESSAGE"] == b"any bytes: \x00\xff = \x1b"
    assert (found["DADMS_PID"], found["DADMS_PROCESS"], found["PRIORITY"]) == (b"1001", b"1001.2", b"6")
    assert found["SYSLOG_IDENTIFIER"] == b"dadms-1001"


def test_a_journal_that_is_overrun_gets_every_line_once(journal: journald.Journal, listener: socket.socket) -> None:
    log = journald.JournalLog(journal, "1001")
    texts = [b"%06d" % number for number in range(5000)]
    found: list[bytes] = []
    waited = 0
    while True:
        try:
            log.write(texts, "1001.1", 0.0)
            break
        except Busy:
            waited += 1
            found += received(listener)
    assert found + received(listener) == texts
    assert waited > 1


def test_a_journal_that_stays_away_costs_lines_that_are_counted_and_told(
    place: str, journal: journald.Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = journald.JournalLog(journal, "1001")
    sink = Sink(log, Allowance(0, 0.0), "", Losses(tmp_path / "losses").take("1001"))
    with pytest.raises(Busy):
        sink.write([b"one", b"two"], "1001.1", 0.0)
    monkeypatch.setattr(journald, "PATIENCE", 0.0)
    with pytest.raises(Unwritten):
        log.write([b"one"], "1001.1", 0.0)
    sink.write([b"one", b"two"], "1001.1", 0.0)
    assert sink.has_losses
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(place)
        listener.setblocking(False)
        sink.write([b"three"], "1001.1", 0.0)
        assert received(listener) == [b"[logger: 2 lines (6 bytes) were lost here: the journal: No such file or directory]", b"three"]
    assert not sink.has_losses
