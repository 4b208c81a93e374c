"""The host's side of a limit: groups of processes, their caps, their end, and what they use.

``detect`` finds out what this host lets the daemon do, by doing it: mounts may be read-only, and a cgroup that shows a controller may not be ours to use. The
backend that can hold the most caps wins; where two hold the same, v2 before v1, because only it caps everything in one group.
"""

import contextlib
import os
from collections.abc import Iterable

from dadms_ipc.errors import HostFailure
from dadmsd.kernel.host.backend import Backend
from dadmsd.kernel.host.caps import CONTROLLERS, Caps, Usage
from dadmsd.kernel.host.mounts import Found, Hierarchy, hierarchies
from dadmsd.kernel.host.processes import all_processes
from dadmsd.kernel.host.rlimits import Rlimits
from dadmsd.kernel.host.tree import Tree
from dadmsd.kernel.host.unified import Unified
from dadmsd.kernel.host.v1 import V1
from dadmsd.kernel.host.v2 import V2

__all__ = ["Backend", "Caps", "Usage", "choose", "detect", "servers_of"]

_PROBE = "probe"  # a group that detection makes and removes
_PROBE_CAPS = Caps(memory=64 << 20, cpu=0.5, pids=16)
_V1_EXTRA = ("freezer", "cpuacct")  # used where there is no v2 hierarchy beside


def detect(instance: str, *, servers: Iterable[int] = ()) -> Backend:
    """Find the best backend for groups below ``instance`` in the daemon's own cgroup.

    ``servers`` are the processes that move to a leaf of their own where v2 demands it (``servers_of``); nobody else is ever moved.
    """
    return choose(hierarchies(_text("/proc/self/mountinfo"), _text("/proc/self/cgroup"), instance), instance, servers=servers)


def choose(found: Found, instance: str, *, servers: Iterable[int] = ()) -> Backend:
    """Try every hierarchy that was found, and take the backend that holds most."""
    reasons: list[str] = []
    v2 = _try_v2(found, instance, [os.getpid(), *servers], reasons)
    v1 = _try_v1(found, instance, v2.unified if v2 else None, reasons)
    if v1 is not None and (v2 is None or len(v1.holds) > len(v2.holds)):
        v1.reasons = tuple(reasons)
        return v1
    if v2:
        v2.reasons = tuple(reasons)
        return v2
    return Rlimits(reasons=tuple(reasons))


def servers_of(keeper: int) -> list[int]:
    """List the keeper and its children: everything of the daemon that may live in its own cgroup."""
    return [keeper, *(pid for pid, seen in all_processes().items() if seen.parent == keeper)]


def _text(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := os.read(fd, 64 * 1024):
            pieces.append(piece)
        return b"".join(pieces).decode("utf-8", "surrogateescape")
    finally:
        os.close(fd)


def _open(place: Hierarchy, instance: str) -> Tree:
    """Make the instance's directory in a hierarchy and open it."""
    own = Tree(place.directory)
    try:
        own.make(instance)
    finally:
        own.close()
    return Tree(f"{place.directory}/{instance}")


def _try_v2(found: Found, instance: str, servers: list[int], reasons: list[str]) -> V2 | None:
    if found.v2 is None:
        reasons.append("no v2 hierarchy is mounted where the daemon can see its own cgroup")
        return None
    try:
        tree = _open(found.v2, instance)
    except (HostFailure, OSError) as error:
        reasons.append(f"v2: {_said(error)}")
        return None
    backend = V2(Tree(found.v2.directory), tree, f"{found.v2.path.rstrip('/')}/{instance}")
    try:
        _writable(tree, "cgroup.procs")
        backend.enclose_servers(servers)
        for name in sorted(backend.holds):
            try:
                _prove(backend, name)
            except HostFailure as error:
                backend.holds -= {name}
                reasons.append(f"v2: {error}")
        if not backend.holds:
            _prove(backend, None)
        reasons += [f"v2: {reason}" for reason in backend.reasons]
    except (HostFailure, OSError) as error:
        reasons.append(f"v2: {_said(error)}")
        with contextlib.suppress(HostFailure):
            backend.dismantle()
        return None
    return backend


def _try_v1(found: Found, instance: str, unified: Unified | None, reasons: list[str]) -> V1 | None:
    trees: dict[str, Tree] = {}
    paths: dict[str, str] = {"": f"{found.v2.path.rstrip('/')}/{instance}"} if found.v2 else {}
    for name in (*CONTROLLERS, *(() if unified else _V1_EXTRA)):
        place = found.v1.get(name)
        if place is None:
            continue
        try:
            tree = _open(place, instance)
        except (HostFailure, OSError) as error:
            reasons.append(f"v1 {name}: {_said(error)}")
            continue
        paths[name] = f"{place.path.rstrip('/')}/{instance}"
        try:
            _writable(tree, "cgroup.procs")
            if name == "memory":
                _hierarchical(tree)
            if name in CONTROLLERS:
                _prove(V1({name: tree}, paths, None), name)
        except (HostFailure, OSError) as error:
            reasons.append(f"v1 {name}: {_said(error)}")
            with contextlib.suppress(HostFailure):
                tree.remove("")
            tree.close()
            continue
        trees[name] = tree
    if not set(trees) & set(CONTROLLERS):
        for tree in trees.values():
            with contextlib.suppress(HostFailure):
                tree.remove("")
            tree.close()
        return None
    return V1(trees, paths, unified)


def _prove(backend: V1 | V2, controller: str | None) -> None:
    """Make a group with a cap, which reads the cap back, and remove it."""
    caps = Caps(**{controller: getattr(_PROBE_CAPS, controller)}) if controller else Caps()
    try:
        backend.create(_PROBE, caps)
    finally:
        backend.remove(_PROBE)


def _hierarchical(tree: Tree) -> None:
    """See to it that a memory limit counts what the groups below use (before Linux 5.11 it was a choice, and not the default)."""
    if tree.number("", "memory.use_hierarchy") == 0:
        tree.set("", "memory.use_hierarchy", "1")
        if tree.number("", "memory.use_hierarchy") != 1:
            raise HostFailure("cannot make memory limits count the groups below: memory.use_hierarchy stays 0")


def _writable(tree: Tree, file: str) -> None:
    """Open a file for writing and write nothing."""
    os.close(os.open(f"{tree.directory}/{file}", os.O_WRONLY | os.O_CLOEXEC))


def _said(error: Exception) -> str:
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
