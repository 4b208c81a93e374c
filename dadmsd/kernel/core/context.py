"""The shared context of one process: regions, values with versions, locks with tokens. Who asks again, and who waits, is decided in ``sharing``.

1. Every change takes the next number of the context; a value's version is the number of its last change. Numbers outlive what they counted, so a version says
   one thing for ever, and a compare-and-swap cannot be fooled by a value that went and came back.
2. A lock has at most one holder. Its token is the next number too; a write under a token that is not the holder's is refused and changes nothing.
3. Everything is bounded, and a refusal says the bound and what was asked.
4. A region that nobody made is made by the first write into it, by the process's own: it belongs to who wrote, and "*" may use it.
"""

import math
import re
from typing import Any, NamedTuple, Protocol

import msgspec

from dadms_ipc import context
from dadmsd.kernel.core.ledger import size_text
from dadmsd.kernel.core.records import Cell, Lock, Record, Region
from dadmsd.kernel.core.values import flaw

REGIONS_MOST = 64  # of a process
KEYS_MOST = 10_000  # of a process, in all regions
LOCKS_MOST = 1_000  # of a process, that are held
NAME_MOST = 200  # characters of a region, a key or a lock
LISTED_MOST = 1_000  # readers or writers of a region
VALUE_BYTES = 64 * 1024  # of one value: what is larger belongs into an artifact
PROCESS_BYTES = 16 * 1024 * 1024  # of keys and values of a process
VIEW_BYTES = 4 * 1024 * 1024  # of a region that is given as a whole: an answer has to fit through every door

_WHO = re.compile(r"\*|main|[0-9]{1,18}(/[0-9]{1,18})?")


class Refused(Exception):
    """Ends an operation with a sentence for who asked; nothing was changed."""


class Asker(NamedTuple):
    """Who asks, as far as rights go."""

    name: str  # "1001/17", "1001", "uid 1000": how owners and holders are shown
    pid: int = 0  # of the process; 0: a client, which may do what the process's user may
    tid: int = 0  # 0: the main


class Journal(Protocol):
    """Where changed records go."""

    def changed(self, record: Record) -> None: ...
    def deleted(self, record: Record) -> None: ...


class Space:
    """The context of a process, in memory and in rows."""

    def __init__(self, pid: int, journal: Journal) -> None:
        self.pid = pid
        self._journal = journal
        self.number = 0  # of the last change
        self._floor: Region | None = None  # a row without a name: it knows the number when the rows that it counted are gone
        self.regions: dict[str, Region] = {}
        self.cells: dict[str, dict[str, Cell]] = {}  # by region and key
        self.locks: dict[str, dict[str, Lock]] = {}  # that are held, by region and name
        self.keys = 0
        self.held = 0  # locks
        self.size = 0  # bytes of keys and values

    # what an earlier kernel left

    def adopt_region(self, region: Region) -> None:
        """Take a row in; regions come before what is in them."""
        self.number = max(self.number, region.version, region.token)
        if region.name:
            self._enter(region)
        else:
            self._floor = region

    def adopt_cell(self, cell: Cell) -> None:
        """Take a row in."""
        self.cells[cell.region][cell.key] = cell
        self.keys += 1
        self.size += _size(cell)

    def adopt_lock(self, lock: Lock) -> None:
        """Take a row in."""
        self.locks[lock.region][lock.name] = lock
        self.held += 1

    # rights

    def _is_boss(self, asker: Asker) -> bool:
        """Tell whether everything here is the asker's: the process's user, and its main."""
        return asker.pid == 0 or (asker.pid == self.pid and not asker.tid)

    def _is_named(self, asker: Asker, listed: list[str]) -> bool:
        if not listed:
            return False
        own = asker.pid == self.pid
        names = {"*" if own else "", "main" if own and not asker.tid else "", "" if own else str(asker.pid), asker.name}
        return any(name in names for name in listed)

    def _may_write(self, region: Region, asker: Asker) -> bool:
        return self._is_boss(asker) or region.owner == asker.name or self._is_named(asker, region.writers)

    def may_read(self, region: Region, asker: Asker) -> bool:
        """Tell whether the asker sees what is in a region."""
        return self._may_write(region, asker) or self._is_named(asker, region.readers)

    def readable(self, name: str, asker: Asker) -> Region | None:
        """Give a region that the asker may read; None where there is none. Raises Refused."""
        region = self.regions.get(name)
        if region is None:
            if asker.pid not in (0, self.pid):
                raise Refused(f'cannot read region "{name}" of {self.pid}: {asker.name} may not, or there is none')
            return None
        if not self.may_read(region, asker):
            words = ", ".join(region.readers) or "nobody else"
            raise Refused(f'cannot read region "{name}" of {self.pid}: its readers are {words}, not {asker.name}')
        return region

    def _writable(self, name: str, asker: Asker) -> Region:
        """Give a region that the asker may write, made if need be. Raises Refused before anything is changed."""
        region = self.regions.get(name)
        if region is None:
            return self._make(name, asker)
        if not self._may_write(region, asker):
            words = ", ".join(region.writers) or "nobody else"
            raise Refused(f'cannot write region "{name}" of {self.pid}: its writers are {words}, not {asker.name}')
        return region

    def _owned(self, name: str, asker: Asker, verb: str) -> Region | None:
        region = self.regions.get(name)
        if region is not None and not self._is_boss(asker) and region.owner != asker.name:
            raise Refused(f'cannot {verb} region "{name}" of {self.pid}: it belongs to {region.owner}, not {asker.name}')
        if region is None and asker.pid not in (0, self.pid):
            raise Refused(f'cannot {verb} region "{name}" of {self.pid}: {asker.name} may not, or there is none')
        return region

    def _make(self, name: str, asker: Asker) -> Region:
        if asker.pid not in (0, self.pid):
            raise Refused(f'cannot write region "{name}" of {self.pid}: {asker.name} may not, or there is none')
        _named("region", name)
        if len(self.regions) >= REGIONS_MOST:
            raise Refused(f'cannot make region "{name}" of {self.pid}: it has {len(self.regions)} regions, at most {REGIONS_MOST}')
        return Region(pid=self.pid, name=name, owner=asker.name, readers=list(context.EVERYONE), writers=list(context.EVERYONE))

    def _enter(self, region: Region) -> None:
        if region.name not in self.regions:
            self.regions[region.name] = region
            self.cells[region.name] = {}
            self.locks[region.name] = {}

    # reading

    def view(self, operation: context.Get | context.Watch, asker: Asker) -> context.Cell | context.RegionView:
        """Give a value, or a region; of one that is watched only what is newer than what is known."""
        region = self.readable(operation.region, asker)
        cells = self.cells.get(operation.region, {})
        if operation.key is not None:
            cell = cells.get(operation.key)
            return context.Cell() if cell is None else _shown(cell)
        after = operation.after if isinstance(operation, context.Watch) else 0
        wanted = [cell for cell in cells.values() if cell.version > after]
        size = sum(map(_size, wanted))
        if size > VIEW_BYTES:
            raise Refused(
                f'cannot give region "{operation.region}" of {self.pid} as a whole: {size_text(size)}, at most {size_text(VIEW_BYTES)}; read it value by value'
            )
        return context.RegionView(region.version if region is not None else 0, {cell.key: _shown(cell) for cell in wanted}, len(cells))

    def version(self, name: str, key: str | None) -> int:
        """Give the version of a value, or of a region."""
        if key is None:
            region = self.regions.get(name)
            return region.version if region is not None else 0
        cell = self.cells.get(name, {}).get(key)
        return cell.version if cell is not None else 0

    # changing

    def put(self, asker: Asker, operation: Any) -> context.Changed:
        """Change one value: set, update, cas or increment."""
        verb = str(operation.__struct_config__.tag)
        where = f'"{operation.key}" of region "{operation.region}" of {self.pid}'
        region = self._writable(operation.region, asker)
        _named("key", operation.key)
        self._hold_guard(region, operation.guard, f"{verb} {where}")
        before = self.cells.get(region.name, {}).get(operation.key)
        shown: Any = None
        match operation:
            case context.Cas(expected=expected):
                if expected != (before.version if before is not None else 0):
                    there = context.Cell() if before is None else _shown(before)
                    return context.Changed(there.version, False, there.value)
                value = _checked(operation.value, f"cas {where}")
            case context.Update():
                value = _merged(before, operation.values, f"update {where}")
            case context.Increment():
                value = _added(before, operation.by, f"increment {where}")
                shown = msgspec.Raw(value)
            case _:
                value = _checked(operation.value, f"set {where}")
        size = len(operation.key.encode()) + len(value)
        grown = self.size + size - (_size(before) if before is not None else 0)
        if grown > PROCESS_BYTES and grown > self.size:
            raise Refused(
                f"cannot {verb} {where}: its context has {size_text(self.size)} and this takes {size_text(size)}, at most {size_text(PROCESS_BYTES)}"
            )
        if before is None and self.keys >= KEYS_MOST:
            raise Refused(f"cannot {verb} {where}: its context has {self.keys} keys, at most {KEYS_MOST}")
        self._enter(region)
        self._next(region)
        cell = Cell(pid=self.pid, region=region.name, key=operation.key, value=value, version=region.version)
        self.cells[region.name][operation.key] = cell
        self.keys += before is None
        self.size = grown
        self._journal.changed(cell)
        return context.Changed(cell.version, True, shown)

    def _next(self, region: Region) -> None:
        self.number += 1
        region.version = self.number
        self._journal.changed(region)

    def delete(self, asker: Asker, operation: context.Delete) -> context.Changed:
        """Remove a value, or a region with its locks."""
        if operation.key is None:
            return self._drop(asker, operation)
        region = self.regions.get(operation.region)
        cell = self.cells.get(operation.region, {}).get(operation.key)
        if region is None or cell is None:
            self.readable(operation.region, asker)
            return context.Changed(0, False)
        self._writable(operation.region, asker)
        self._hold_guard(region, operation.guard, f'delete "{operation.key}" of region "{operation.region}" of {self.pid}')
        del self.cells[operation.region][operation.key]
        self._forget(cell)
        self._next(region)
        return context.Changed(0)

    def _forget(self, cell: Cell) -> None:
        self.keys -= 1
        self.size -= _size(cell)
        self._journal.deleted(cell)

    def _drop(self, asker: Asker, operation: context.Delete) -> context.Changed:
        region = self._owned(operation.region, asker, "delete")
        if region is None:
            return context.Changed(0, False)
        held = self.locks[region.name]
        if held:
            lock = next(iter(held.values()))
            raise Refused(f'cannot delete region "{region.name}" of {self.pid}: its lock "{lock.name}" is held by {lock.holder}')
        for cell in self.cells.pop(region.name).values():
            self._forget(cell)
        del self.locks[region.name], self.regions[region.name]
        self._journal.deleted(region)
        self.number += 1
        self._floor = self._floor or Region(pid=self.pid, name="", owner="", readers=[], writers=[])
        self._floor.token = self.number
        self._journal.changed(self._floor)
        return context.Changed(0)

    def share(self, asker: Asker, operation: context.Share) -> context.Changed:
        """Say who may use a region."""
        region = self._owned(operation.region, asker, "share") or self._make(operation.region, asker)
        for listed in (operation.readers, operation.writers):
            if listed is not None and len(listed) > LISTED_MOST:
                raise Refused(f'cannot share region "{region.name}" of {self.pid} with {len(listed)}: at most {LISTED_MOST} are listed')
            strange = next((each for each in listed or () if not _WHO.fullmatch(each)), None)
            if strange is not None:
                raise Refused(f'cannot share region "{region.name}" of {self.pid} with {strange!r}: "*", "main", "PID" or "PID/TID"')
        self._enter(region)
        region.readers = region.readers if operation.readers is None else operation.readers
        region.writers = region.writers if operation.writers is None else operation.writers
        self._next(region)
        return context.Changed(region.version)

    # locks

    def lock_of(self, region: str, name: str) -> Lock | None:
        """Give a lock that is held."""
        return self.locks.get(region, {}).get(name)

    def lock(self, asker: Asker, operation: context.Lock, child: str, at: float) -> Lock | None:
        """Give a free lock to the asker; None while somebody else has it. Raises Refused."""
        region = self._writable(operation.region, asker)
        _named("lock", operation.lock)
        held = self.lock_of(operation.region, operation.lock)
        if held is not None:
            if held.holder == asker.name:
                raise Refused(f'cannot lock "{held.name}" of region "{held.region}" of {self.pid}: {asker.name} has it already')
            return None
        if self.held >= LOCKS_MOST:
            raise Refused(
                f'cannot lock "{operation.lock}" of region "{operation.region}" of {self.pid}: {self.held} locks are held, at most {LOCKS_MOST}'
            )
        self._enter(region)
        self.number += 1
        region.token = self.number
        lock = Lock(
            pid=self.pid, region=region.name, name=operation.lock, holder=asker.name, token=region.token, child=child, tid=asker.tid, at=at
        )
        self.locks[region.name][lock.name] = lock
        self.held += 1
        self._journal.changed(region)
        self._journal.changed(lock)
        return lock

    def free(self, lock: Lock) -> None:
        """Take a lock from its holder."""
        del self.locks[lock.region][lock.name]
        self.held -= 1
        self._journal.deleted(lock)

    def broken(self, asker: Asker, operation: context.Break) -> Lock | None:
        """Find the lock that is to be taken from its holder. Raises Refused."""
        self._owned(operation.region, asker, "break a lock of")
        return self.lock_of(operation.region, operation.lock)

    def _hold_guard(self, region: Region, guard: context.Guard | None, what: str) -> None:
        """Refuse a write under a lock that has passed on."""
        if guard is None:
            return
        lock = self.lock_of(region.name, guard.lock)
        if lock is None:
            raise Refused(f'cannot {what} under lock "{guard.lock}" with token {guard.token}: nobody has it')
        if lock.token != guard.token:
            raise Refused(
                f'cannot {what} under lock "{guard.lock}" with token {guard.token}: {lock.holder} has it, with token {lock.token}'
            )

    # the end

    def drop_all(self) -> None:
        """Forget everything: the process leaves the table."""
        for region, cells in self.cells.items():
            for record in (*cells.values(), *self.locks[region].values(), self.regions[region]):
                self._journal.deleted(record)
        if self._floor is not None:
            self._journal.deleted(self._floor)

    def infos(self, asker: Asker) -> list[context.RegionInfo]:
        """Show the regions that the asker may read."""
        return [
            context.RegionInfo(
                region.name,
                region.owner,
                region.readers,
                region.writers,
                region.version,
                len(self.cells[region.name]),
                sum(map(_size, self.cells[region.name].values())),
                {lock.name: lock.holder for lock in self.locks[region.name].values()},
            )
            for region in self.regions.values()
            if self.may_read(region, asker)
        ]

    def check(self) -> None:
        """Hold that counts are those of what is there, and that numbers only grow."""
        every = [cell for cells in self.cells.values() for cell in cells.values()]
        assert self.keys == len(every) <= KEYS_MOST, f"context of {self.pid}: {self.keys} keys, {len(every)} counted"
        assert self.size == sum(map(_size, every)), f"context of {self.pid}: {self.size} bytes"
        assert self.held == sum(map(len, self.locks.values())), f"context of {self.pid}: {self.held} locks"
        for name, region in self.regions.items():
            assert max(region.version, region.token) <= self.number, f"region {name} of {self.pid} is ahead of its context"
            assert all(cell.version <= region.version for cell in self.cells[name].values()), f"a value of {name} is ahead of its region"


def _size(cell: Cell) -> int:
    return len(cell.key.encode()) + len(cell.value)


def _shown(cell: Cell) -> context.Cell:
    return context.Cell(cell.version, msgspec.Raw(cell.value))


def _named(what: str, name: str) -> None:
    if not 1 <= len(name) <= NAME_MOST or not name.isprintable():
        raise Refused(f"cannot use {name[:NAME_MOST]!r} as a {what}: 1 to {NAME_MOST} printable characters, not {len(name)}")


def _checked(value: msgspec.Raw, what: str) -> bytes:
    if len(value) > VALUE_BYTES:
        raise Refused(
            f"cannot {what}: a value of {len(value)} bytes, at most {VALUE_BYTES}; put it into an artifact and keep its reference"
        )
    raw = bytes(value)
    wrong = flaw(raw, most=VALUE_BYTES)
    if wrong:
        raise Refused(f"cannot {what}: {wrong}")
    return raw


_maps = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_numbers = msgspec.msgpack.Decoder(int | float)


def _merged(before: Cell | None, values: msgspec.Raw, what: str) -> bytes:
    added = _checked(values, what)
    try:
        merged = _maps.decode(before.value) if before is not None else {}
    except msgspec.DecodeError:
        raise Refused(f"cannot {what}: what is there is no map with texts for keys") from None
    try:
        merged |= _maps.decode(added)
    except msgspec.DecodeError:
        raise Refused(f"cannot {what}: only a map with texts for keys can be merged") from None
    return _checked(msgspec.Raw(msgspec.msgpack.encode(merged)), what)


def _added(before: Cell | None, by: float, what: str) -> bytes:
    try:
        number = _numbers.decode(before.value) if before is not None else 0
    except msgspec.DecodeError:
        raise Refused(f"cannot {what}: what is there is no number") from None
    total = number + by
    if isinstance(total, float) and not math.isfinite(total):
        raise Refused(f"cannot {what} by {by}: {number} + {by} is no finite number")
    if isinstance(total, int) and not -(2**63) <= total < 2**64:
        raise Refused(f"cannot {what} by {by}: the sum has {total.bit_length()} bits, at most 64 are kept")
    return msgspec.msgpack.encode(total)
