"""Keys of those who come over a network: the file that a client has, and the daemon's list of whom it lets in.

1. A key is a pair of CURVE halves (32 bytes each, in Z85) with a name. Its secret half is written once, into the client's file, and the daemon never has it.
2. The daemon's list is a directory, ``keys`` in its state directory: ``server.key`` is the daemon's own pair, ``allowed/NAME`` is an entry. To remove an entry,
   by whatever means, is to revoke the key.
3. Files with a secret have mode 0600. One that others may read is refused: it is not known who has read it.
"""

import contextlib
import os
import re
import stat
import time
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from dadms_ipc.errors import HostFailure, RequestRefused

ROLES = ("observe", "operate", "admin")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
FILE_LIMIT = 4096  # bytes of a key's file
KEYS_LIMIT = 10_000  # entries of a list

Half = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-zA-Z.:+=^!/*?&<>()\[\]{}@%$#-]{40}$")]
Form = TypeVar("Form", bound=msgspec.Struct)


class Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Both halves."""

    public: Half
    secret: Half


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client's file says."""

    name: str
    server: Half  # public half of the daemon: a client speaks with no other
    public: Half
    secret: Half


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom the daemon lets in."""

    public: Half
    role: str
    uid: Annotated[int, msgspec.Meta(ge=0, lt=2**32 - 1)]  # whose processes it starts and owns
    created: float = 0.0  # wall clock, seconds


def read_key(path: Path) -> Key:
    """Read a client's file; raises RequestRefused."""
    return _decode(path, _read(path, f'use the key "{path}"'), Key)


def write_key(path: Path, key: Key) -> None:
    """Write a client's file, which must not be there yet; raises RequestRefused or HostFailure."""
    _create(path, f'# A key of DADMS. Whoever can read this file may speak as "{key.name}".\n{_encode(key)}', f'write the key "{path}"')


def key_text(key: Key) -> str:
    """Give the text of a client's file."""
    return _encode(key)


class KeyList:
    """The directory of a daemon's keys."""

    def __init__(self, state_dir: Path) -> None:
        self.directory = state_dir / "keys"
        self.allowed = self.directory / "allowed"
        self.server = self.directory / "server.key"

    def prepare(self) -> None:
        """Make the directories that are missing; raises HostFailure."""
        try:
            for directory in (self.directory, self.allowed):
                directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise HostFailure(f'cannot keep keys in "{self.directory}": {error.strerror}') from error

    def server_pair(self) -> Pair | None:
        """Read the daemon's own pair; None when there is none yet. Raises RequestRefused."""
        if not self.server.exists():
            return None
        return _decode(self.server, _read(self.server, "use the daemon's own key"), Pair)

    def make_server_pair(self, pair: Pair) -> Pair:
        """Keep a pair as the daemon's own, unless it has one; gives the one that it has."""
        with contextlib.suppress(RequestRefused):  # somebody else was quicker
            _create(self.server, _encode(pair), "keep the daemon's own key")
        kept = self.server_pair()
        assert kept is not None
        return kept

    def add(self, name: str, entry: Entry) -> None:
        """Let a key in; raises RequestRefused for a name that is taken or no name."""
        check_name(name)
        _create(self.allowed / name, _encode(entry), f'add the key "{name}"')

    def remove(self, name: str) -> None:
        """Revoke a key; raises RequestRefused when there is none of this name."""
        check_name(name)
        try:
            (self.allowed / name).unlink()
        except FileNotFoundError as error:
            known = ", ".join(sorted(self.entries()[0])) or "none"
            raise RequestRefused(f'cannot revoke "{name}": there is no such key; there are {known}') from error
        except OSError as error:
            raise HostFailure(f'cannot revoke "{name}": {error.strerror}') from error

    def entries(self) -> tuple[dict[str, Entry], list[str]]:
        """Read the list, by names; what cannot be read lets nobody in, and is told beside it."""
        found: dict[str, Entry] = {}
        mistakes: list[str] = []
        try:
            names = sorted(path.name for path in self.allowed.iterdir() if not path.name.startswith("."))
        except FileNotFoundError:
            return found, mistakes
        except OSError as error:
            return found, [f'cannot read the keys in "{self.allowed}": {error.strerror}']
        for name in names[:KEYS_LIMIT]:
            try:
                check_name(name)
                entry = _decode(self.allowed / name, _read(self.allowed / name, f'use the key "{name}"', is_secret=False), Entry)
                if entry.role not in ROLES:
                    raise RequestRefused(f'cannot use the key "{name}": the role "{entry.role}" is none of {", ".join(ROLES)}')
                found[name] = entry
            except RequestRefused as error:
                mistakes.append(str(error))
        if len(names) > KEYS_LIMIT:
            mistakes.append(f"cannot use more than {KEYS_LIMIT} keys: {len(names) - KEYS_LIMIT} let nobody in")
        return found, mistakes


def entry_of(public: str, role: str, uid: int) -> Entry:
    """Make an entry of now."""
    return Entry(public, role, uid, round(time.time(), 3))


def check_name(name: str) -> None:
    """Raise RequestRefused for what is no name of a key."""
    if not NAME.fullmatch(name):
        shown = name[:80].encode(errors="backslashreplace").decode()  # of a file whose name is not UTF-8
        raise RequestRefused(f'cannot name a key "{shown}": letters, digits, ".", "_" and "-", at most 64, and a letter or digit first')


def _read(path: Path, what: str, *, is_secret: bool = True) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise RequestRefused(f'cannot {what}: "{path}" is no regular file')
            forbidden = 0o077 if is_secret else 0o022
            if found.st_mode & forbidden:
                may = "read it" if is_secret else "write it"
                raise RequestRefused(f'cannot {what}: others may {may} (mode {stat.S_IMODE(found.st_mode):04o} of "{path}")')
            content = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise RequestRefused(f'cannot {what}: {error.strerror}: "{path}"') from error
    if len(content) > FILE_LIMIT:
        raise RequestRefused(f'cannot {what}: "{path}" is larger than {FILE_LIMIT} bytes')
    return content.decode("utf-8", "replace")


def _decode(path: Path, text: str, form: type[Form]) -> Form:
    import tomllib  # here: most programs have no key, and do without its 3 ms

    try:
        return msgspec.convert(tomllib.loads(text), form)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and ValidationError are ValueErrors
        # The error may quote a line of the file, and the line may hold a secret: only its kind is told.
        raise RequestRefused(f'cannot use "{path}": it is no {form.__name__.lower()} of DADMS ({type(error).__name__})') from None


def _encode(value: msgspec.Struct) -> str:
    fields: dict[str, Any] = msgspec.structs.asdict(value)
    return "".join(f'{name} = "{one}"\n' if isinstance(one, str) else f"{name} = {one}\n" for name, one in fields.items())


def _create(path: Path, text: str, what: str) -> None:
    """Make a file of mode 0600 that was not there, whole or not at all."""
    fresh = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            os.link(fresh, path)
        finally:
            fresh.unlink()
    except FileExistsError as error:
        raise RequestRefused(f'cannot {what}: "{path}" is there already') from error
    except OSError as error:
        raise HostFailure(f"cannot {what}: {error.strerror}") from error
