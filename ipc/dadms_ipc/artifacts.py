"""Artifacts: data that is too large for a message, as files of the process's directory that others open by reference.

1. A file is named by its content (BLAKE2b, 256 bits) and never changes: it is written under another name, then renamed. The same content is one file.
2. What travels is the reference, a small map: ``{"$artifact": name, "pid": …, "size": …, "form": …}``. Whoever may read the directory of that process opens it.
3. Opening maps the file into memory: bytes as a memoryview, a NumPy array and an Arrow table without a copy, all read-only. Neither library is imported here before
   there is something of it to open; who puts an array has it loaded.
4. Room is asked of the kernel before anything is written; it counts against ``disk_limit_mb``.
5. The files go when their process leaves the daemon's table.
"""

import importlib
import io
import mmap
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dadms_ipc.errors import HostFailure, RequestRefused

if TYPE_CHECKING:
    import hashlib

FOLDER: Final = "artifacts"  # in the directory of a process
NAME_BYTES: Final = 32  # of the digest; a name is its hexadecimal digits
PIECE: Final = 1 << 20  # bytes that are read from a file at once
FORMS: Final = ("bytes", "numpy", "arrow")

Reserve = Callable[[int], object]  # asks for room for so many bytes; raises RequestRefused


class Artifact(msgspec.Struct, frozen=True, rename={"name": "$artifact"}):
    """A reference. It travels as a map, in arguments, results, contexts and messages."""

    name: str
    pid: int  # of the process whose directory has the file
    size: int  # bytes of the file
    form: str = "bytes"  # "bytes", "numpy" (a .npy file), "arrow" (an Arrow IPC file)


def reference(value: object) -> Artifact:
    """Read what may be a reference: an Artifact, or the map that it travels as. Raises RequestRefused."""
    if isinstance(value, Artifact):
        return value
    try:
        found = msgspec.convert(value, Artifact)
    except msgspec.ValidationError as error:
        raise RequestRefused(f"cannot open an artifact: {value!r:.200} is no reference: {error}") from None
    is_name = len(found.name) == 2 * NAME_BYTES and set(found.name) <= set("0123456789abcdef")
    if not is_name or found.pid < 0 or found.form not in FORMS:
        raise RequestRefused(f"cannot open an artifact: {value!r:.200} is no reference")
    return found


class Store:
    """The artifacts of one process, as it and its threads see them."""

    def __init__(self, directory: str, pid: int, reserve: Reserve) -> None:
        self._directory = Path(directory)
        self._pid = pid
        self._reserve = reserve

    def put(self, value: object) -> Artifact:
        """Keep bytes (anything with a buffer), a NumPy array or an Arrow table; raises RequestRefused, HostFailure."""
        if _is_of("numpy", "ndarray", value):
            return self._put_pieces("numpy", _pieces_of_array(value))
        if _is_of("pyarrow", "Table", value) or _is_of("pyarrow", "RecordBatch", value):
            return self._put_table(value)
        try:
            view = memoryview(value)  # type: ignore[arg-type]  # what has no buffer is found out by this
            pieces = [view.cast("B")] if view.nbytes and view.c_contiguous else [view.tobytes()]
        except TypeError:
            kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
            raise RequestRefused(f"cannot keep a {kind} as an artifact: bytes, a NumPy array or an Arrow table; encode it first") from None
        return self._put_pieces("bytes", pieces)

    def put_file(self, path: str | Path) -> Artifact:
        """Keep a copy of a file as it is now."""
        try:
            with Path(path).open("rb") as file:
                self._reserve(os.fstat(file.fileno()).st_size)
                return self._write("bytes", iter(lambda: file.read(PIECE), b""))
        except OSError as error:
            raise HostFailure(f'cannot keep "{path}" as an artifact: {error.strerror}') from error

    def path(self, value: object) -> Path:
        """Give the path of the file, for programs that read files; it must not be changed. Raises RequestRefused when it is not there."""
        found = reference(value)
        path = self._folder(found.pid) / found.name
        try:
            size = path.stat().st_size
        except OSError as error:
            why = "it went with its process, or never was" if isinstance(error, FileNotFoundError) else error.strerror
            raise RequestRefused(f"cannot open artifact {found.name[:12]}… of process {found.pid}: {why}") from None
        if size != found.size:
            raise RequestRefused(f"cannot open artifact {found.name[:12]}… of process {found.pid}: it has {size} bytes, not {found.size}")
        return path

    def open(self, value: object) -> Any:
        """Give what was put, mapped into memory and read-only: a memoryview, a NumPy array, an Arrow table."""
        found = reference(value)
        path = self.path(found)
        if found.form == "numpy":
            numpy = _library("numpy", "an array")
            return numpy.load(path, mmap_mode="r" if found.size > _header_size(path) else None, allow_pickle=False)
        if found.form == "arrow":
            arrow = _library("pyarrow", "a table")
            return importlib.import_module("pyarrow.ipc").open_file(arrow.memory_map(str(path))).read_all()
        if not found.size:
            return memoryview(b"")
        with path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def discard(self, value: Artifact) -> None:
        """Remove one that nobody refers to any more, as its process alone can know; its room is free when the disk is measured next."""
        (self._folder(self._pid) / reference(value).name).unlink(missing_ok=True)

    # within

    def _folder(self, pid: int) -> Path:
        return (self._directory if pid == self._pid else self._directory.parent / str(pid)) / FOLDER

    def _put_pieces(self, form: str, pieces: list[Any]) -> Artifact:
        """Keep buffers, one after the other. They are read twice rather than written twice: what is there already costs no room."""
        size = sum(len(piece) for piece in pieces)
        digest = _digest()
        for piece in pieces:
            digest.update(piece)
        made = Artifact(digest.hexdigest(), self._pid, size, form)
        if (self._folder(self._pid) / made.name).exists():
            return made
        self._reserve(size)
        return self._write(form, pieces)

    def _put_table(self, table: Any) -> Artifact:
        """Keep a table as an Arrow IPC file, which is mapped as it is."""
        ipc = importlib.import_module("pyarrow.ipc")
        self._reserve(table.nbytes)
        new = self._new()
        try:
            with new.open("xb") as file, ipc.new_file(file, table.schema) as writer:
                writer.write(table)
            digest = _digest()
            with new.open("rb") as written:
                while piece := written.read(PIECE):
                    digest.update(piece)
            return self._name(new, digest.hexdigest(), "arrow")
        except BaseException as error:
            raise self._failed(new, error) from error

    def _write(self, form: str, pieces: Iterable[Any]) -> Artifact:
        new = self._new()
        digest = _digest()
        try:
            with new.open("xb", buffering=0) as file:
                for piece in pieces:
                    digest.update(piece)
                    rest = memoryview(piece)
                    while rest:
                        rest = rest[file.write(rest) :]
            return self._name(new, digest.hexdigest(), form)
        except BaseException as error:
            raise self._failed(new, error) from error

    def _new(self) -> Path:
        folder = self._folder(self._pid)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise HostFailure(f'cannot make "{folder}" for artifacts: {error.strerror}') from error
        return folder / f".new-{os.getpid()}-{os.urandom(8).hex()}"

    def _name(self, new: Path, name: str, form: str) -> Artifact:
        """Let a file that is complete appear under its name."""
        size = new.stat().st_size
        new.chmod(0o400)
        new.rename(new.with_name(name))
        return Artifact(name, self._pid, size, form)

    def _failed(self, new: Path, error: BaseException) -> BaseException:
        new.unlink(missing_ok=True)
        if isinstance(error, OSError):
            return HostFailure(f"cannot write an artifact of process {self._pid}: {error.strerror or error}")
        return error


def _is_of(library: str, name: str, value: object) -> bool:
    """Tell whether a value is of a library's class, without importing the library."""
    kind = getattr(sys.modules.get(library), name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def _library(name: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise RequestRefused(f"cannot open an artifact that is {what}: {name} is not installed here; its path is still a file") from None


def _pieces_of_array(array: Any) -> list[Any]:
    """Give header and data of an array as a .npy file has them, the data without a copy where it is contiguous."""
    numpy: Any = sys.modules["numpy"]
    if array.dtype.hasobject:
        raise RequestRefused(f"cannot keep an array of {array.dtype} as an artifact: its elements are Python objects")
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        array = numpy.ascontiguousarray(array)
    header = io.BytesIO()
    form = numpy.lib.format
    described = form.header_data_from_array_1_0(array)
    try:
        form.write_array_header_1_0(header, described)
    except ValueError:  # structured types with many fields
        header = io.BytesIO()
        form.write_array_header_2_0(header, described)
    flat = (array if array.flags.c_contiguous else array.T).reshape(-1).view(numpy.uint8)
    return [header.getvalue(), *([memoryview(flat)] if flat.size else [])]


def _header_size(path: Path) -> int:
    """Give the bytes of a .npy file's header: an array without elements is nothing that could be mapped."""
    with path.open("rb") as file:
        start = file.read(12)
    return 10 + int.from_bytes(start[8:10], "little") if start[6:7] == b"\x01" else 12 + int.from_bytes(start[8:12], "little")


def as_map(value: Artifact) -> Mapping[str, object]:
    """Give a reference as the map that it travels as, for what takes plain values only."""
    found: Mapping[str, object] = msgspec.to_builtins(value)
    return found


def _digest() -> "hashlib.blake2b":
    import hashlib  # here: it brings OpenSSL, which every fork of a zygote would copy

    return hashlib.blake2b(digest_size=NAME_BYTES)
