"""Artifacts: what is put is opened again, without a copy, and what is no reference is refused."""

import array
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dadms_ipc.artifacts import FOLDER, Artifact, Store, as_map, reference
from dadms_ipc.errors import HostFailure, RequestRefused


class Room:
    """Room on a disk; remembers what was asked for."""

    def __init__(self, most: int = 1 << 40) -> None:
        self.most = most
        self.asked: list[int] = []

    def __call__(self, size: int) -> None:
        self.asked.append(size)
        if size > self.most:
            raise RequestRefused(f"no room for {size} bytes")


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def store(tmp_path: Path, room: Room) -> Store:
    (tmp_path / "1001").mkdir()
    return Store(str(tmp_path / "1001"), 1001, room)


def files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "1001" / FOLDER).iterdir())


@pytest.mark.parametrize("value", [b"", b"x", b"ab" * 500_000, bytearray(b"abc"), memoryview(b"abcdef")[::2], array.array("d", [1.0, 2.0])])
def test_bytes_come_back_as_they_were(store: Store, value: Any) -> None:
    made = store.put(value)
    opened = store.open(made)
    assert (bytes(opened), made.size, made.form, made.pid) == (memoryview(value).tobytes(), memoryview(value).nbytes, "bytes", 1001)
    assert opened.readonly


def test_the_same_content_is_one_file_and_asks_for_room_once(store: Store, room: Room, tmp_path: Path) -> None:
    first, second = store.put(b"same"), store.put(bytearray(b"same"))
    assert first == second
    assert files(tmp_path) == [first.name]
    assert room.asked == [4]
    assert (tmp_path / "1001" / FOLDER / first.name).stat().st_mode & 0o777 == 0o400


def test_a_reference_travels_as_a_small_map(store: Store) -> None:
    made = store.put(b"x" * 1_000_000)
    encoded = msgspec.msgpack.encode({"data": made})
    assert len(encoded) < 200
    travelled = msgspec.msgpack.decode(encoded)["data"]
    assert travelled == {"$artifact": made.name, "pid": 1001, "size": 1_000_000, "form": "bytes"} == as_map(made)
    assert reference(travelled) == made
    assert len(store.open(travelled)) == 1_000_000


def test_another_process_opens_what_its_user_may_read(store: Store, tmp_path: Path, room: Room) -> None:
    made = store.put(b"ours")
    assert bytes(Store(str(tmp_path / "1002"), 1002, room).open(made)) == b"ours"


@pytest.mark.parametrize(
    "value",
    [
        None,
        "name",
        {"$artifact": "ab", "pid": 1, "size": 1},
        {"$artifact": "../" * 22, "pid": 1, "size": 1},
        {"$artifact": "A" * 64, "pid": 1, "size": 1},
        {"$artifact": "a" * 64, "pid": -1, "size": 1},
        {"$artifact": "a" * 64, "pid": 1, "size": 1, "form": "pickle"},
        {"$artifact": "a" * 64, "size": 1},
    ],
)
def test_what_is_no_reference_is_refused(store: Store, value: object) -> None:
    with pytest.raises(RequestRefused, match="is no reference"):
        store.open(value)


def test_what_is_gone_or_was_changed_is_refused(store: Store) -> None:
    made = store.put(b"data")
    with pytest.raises(RequestRefused, match=r"it has 4 bytes, not 5"):
        store.open(msgspec.structs.replace(made, size=5))
    store.path(made).unlink()
    with pytest.raises(
        RequestRefused, match=f"cannot open artifact {made.name[:12]}… of process 1001: it went with its process, or never was"
    ):
        store.open(made)


@pytest.mark.parametrize(("value", "kind"), [("text", "str"), (5, "int"), ({"a": 1}, "dict"), (Path(), "pathlib")])
def test_what_has_no_bytes_is_refused(store: Store, value: object, kind: str) -> None:
    with pytest.raises(RequestRefused, match=f"cannot keep a {kind}.* as an artifact: bytes, a NumPy array or an Arrow table"):
        store.put(value)


def test_nothing_is_written_without_room(store: Store, room: Room, tmp_path: Path) -> None:
    room.most = 10
    with pytest.raises(RequestRefused, match="no room for 11 bytes"):
        store.put(b"x" * 11)
    assert not (tmp_path / "1001" / FOLDER).exists()


def test_a_write_that_fails_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    """A limit of this process stands for a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(HostFailure, match="cannot write an artifact of process 1001: File too large"):
            store.put(b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert files(tmp_path) == []


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path, room: Room) -> None:
    with pytest.raises(HostFailure, match=r"cannot make .*: No such file or directory"):
        Store(str(tmp_path / "gone"), 1001, room).put(b"x")


def test_a_file_is_kept_as_it_is_now(store: Store, tmp_path: Path, room: Room) -> None:
    path = tmp_path / "big.bin"
    path.write_bytes(b"x" * 3_000_000)
    made = store.put_file(path)
    path.write_bytes(b"changed")
    assert bytes(store.open(made)) == b"x" * 3_000_000
    assert store.path(made).read_bytes() == b"x" * 3_000_000
    assert room.asked == [3_000_000]
    with pytest.raises(HostFailure, match=r"cannot keep .*gone.* as an artifact: No such file"):
        store.put_file(tmp_path / "gone")


# libraries, where they are


@pytest.mark.parametrize("form", ["C", "F", "strided", "empty", "scalar", "structured", "time"])
def test_an_array_comes_back_mapped_and_read_only(store: Store, form: str) -> None:
    numpy: Any = pytest.importorskip("numpy")
    grid = numpy.arange(60_000, dtype="f8").reshape(200, 300)
    arrays = {
        "C": grid,
        "F": numpy.asfortranarray(grid),
        "strided": grid[::2, ::3],
        "empty": numpy.zeros((0, 3)),
        "scalar": numpy.array(2.5),
        "structured": numpy.array([(1, 2.0)], dtype=[(f"field {number}", "f4") for number in range(2)]),
        "time": numpy.array(["2026-11-22"], dtype="datetime64[s]"),
    }
    array = arrays[form]
    made = store.put(array)
    opened = store.open(as_map(made))
    assert made.form == "numpy"
    assert (opened.dtype, opened.shape) == (array.dtype, array.shape)
    assert (opened == array).all()
    if array.size:
        assert isinstance(opened, numpy.memmap)
        assert not opened.flags.writeable
    assert (numpy.load(store.path(made)) == array).all(), "any program reads it"


def test_an_array_of_objects_is_refused(store: Store) -> None:
    numpy: Any = pytest.importorskip("numpy")
    with pytest.raises(RequestRefused, match="its elements are Python objects"):
        store.put(numpy.array([{}, None], dtype=object))


def test_a_table_comes_back_mapped(store: Store) -> None:
    arrow: Any = pytest.importorskip("pyarrow")
    table = arrow.table({"site": list(range(100_000)), "name": ["x"] * 100_000})
    made = store.put(table)
    assert made.form == "arrow"
    before = arrow.total_allocated_bytes()
    opened = store.open(as_map(made))
    assert opened.equals(table)
    assert arrow.total_allocated_bytes() - before < 10_000, "it was copied"
    batch = store.put(table.to_batches()[0])
    assert store.open(batch).num_rows == table.to_batches()[0].num_rows


def test_a_library_that_is_not_there_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = store.put(b"\x93NUMPY\x01\x00\x00\x00" + b" " * 40)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(RequestRefused, match="numpy is not installed here"):
        store.open(msgspec.structs.replace(made, form="numpy"))


def test_a_reference_is_what_an_entry_may_declare() -> None:
    assert msgspec.convert({"$artifact": "a" * 64, "pid": 1, "size": 2, "form": "arrow"}, Artifact).form == "arrow"
