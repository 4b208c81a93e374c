"""The store of descriptors, with real pipes."""

import os
from collections.abc import Iterator

import pytest

from dadms_ipc.errors import PeerViolation, RequestRefused
from dadmsd.keeper import store as stores
from dadmsd.keeper.store import BASE_ZYGOTE, Store, log_name


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store(fds_limit=8)
    yield made
    made.close()
    assert made.held == 0


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_an_entry_gives_its_descriptors_until_it_is_dropped(store: Store) -> None:
    fds = list(os.pipe())
    store.put("v1/port/1001.1", fds)
    assert list(store.get("v1/port/1001.1")) == fds
    assert (store.names(), store.held, len(store)) == (["v1/port/1001.1"], 2, 1)
    assert store.drop("v1/port/1001.1") is False
    assert not any(map(is_open, fds))
    assert (list(store.get("v1/port/1001.1")), store.held) == ([], 0)


def test_a_newer_entry_replaces_and_closes_the_older_one(store: Store) -> None:
    older, newer = list(os.pipe()), list(os.pipe())
    store.put("v1/port/1", older)
    store.put("v1/port/1", newer)
    assert not any(map(is_open, older))
    assert list(store.get("v1/port/1")) == newer
    assert store.held == 2


def test_an_unknown_name_is_dropped_without_harm(store: Store) -> None:
    assert store.drop("v1/port/unknown") is False
    store.drained("v1/log/unknown")


def test_a_dropped_log_keeps_its_read_end_until_it_is_drained(store: Store) -> None:
    read_end, write_end = os.pipe()
    store.put("v1/log/1001.1", [read_end, write_end])
    os.write(write_end, b"last words")
    assert store.drop("v1/log/1001.1") is True
    assert not is_open(write_end)
    assert store.leaving() == ["v1/log/1001.1"]
    assert list(store.get("v1/log/1001.1")) == [read_end]
    assert os.read(read_end, 100) == b"last words"
    store.drained("v1/log/1001.1")
    assert not is_open(read_end)
    assert (store.leaving(), store.held) == ([], 0)


def test_drained_does_not_close_a_log_that_is_in_use(store: Store) -> None:
    fds = list(os.pipe())
    store.put("v1/log/1001.1", fds)
    store.drained("v1/log/1001.1")
    assert all(map(is_open, fds))


@pytest.mark.parametrize(
    ("name", "pipes", "reason"),
    [
        ("port/1", 1, "does not begin with v1/"),
        ("v1/" + "x" * 200, 1, "longer than 200"),
        ("v1/a\nb", 1, "does not begin with v1/"),
        ("v1/port/1", 0, "no descriptor came with it"),
        ("v1/log/1001.1", 2, "a read end and a write end, 4 came"),
        ("v1/log/../../etc/passwd", 1, "names a file"),
        ("v1/port/1", 5, "0 descriptors are held, at most 8 fit"),
    ],
)
def test_what_is_refused_is_closed(store: Store, name: str, pipes: int, reason: str) -> None:
    fds = [fd for _ in range(pipes) for fd in os.pipe()]
    with pytest.raises(RequestRefused, match=reason):
        store.put(name, fds)
    assert not any(map(is_open, fds))
    assert store.held == 0


def test_what_leaves_counts_against_the_limits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "ENTRIES_LIMIT", 2)
    for name in ("v1/log/1.1", "v1/log/2.1"):
        store.put(name, list(os.pipe()))
        store.drop(name)
    assert store.held == 2
    with pytest.raises(RequestRefused, match="2 entries are held"):
        store.put("v1/log/3.1", list(os.pipe()))


def test_the_base_zygote_fits_into_a_full_store(store: Store) -> None:
    for number in range(4):
        store.put(f"v1/port/{number}", list(os.pipe()))
    store.put(BASE_ZYGOTE, list(os.pipe()))
    assert store.held == 10


def test_a_log_is_a_file_by_what_stands_before_the_first_dot() -> None:
    assert log_name("v1/log/1001.1") == ("1001.1", "1001")
    assert log_name("v1/log/zygote-7") == ("zygote-7", "zygote-7")
    assert log_name("v1/log/zygote-bpmn.1.2") == ("zygote-bpmn.1.2", "zygote-bpmn")
    with pytest.raises(PeerViolation):
        log_name("v1/log/.hidden")
