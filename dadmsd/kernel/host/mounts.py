"""Where the daemon's own cgroup is in each hierarchy: /proc/self/mountinfo joined with /proc/self/cgroup (proc(5), cgroups(7)).

A mount shows a part of its hierarchy (``root``), so a cgroup's path is looked up below that; a cgroup outside of it cannot be reached through that mount.
A kernel that was started inside the groups of its own instance (``…/dadms-1a2b3c4d/servers``) finds the place above them.
"""

from typing import NamedTuple


class Hierarchy(NamedTuple):
    """One mounted hierarchy, and the daemon's place in it."""

    directory: str  # of the daemon's own cgroup, in the file system
    path: str  # of the same, as /proc/PID/cgroup writes it
    controllers: frozenset[str]  # v1: those bound to it; empty for v2, which says so itself


class Found(NamedTuple):
    """The hierarchies that the daemon can see."""

    v2: Hierarchy | None
    v1: dict[str, Hierarchy]  # by controller


def hierarchies(mountinfo: str, membership: str, instance: str) -> Found:
    """Join the two files; ``instance`` is cut from the end of the daemon's own path when it is in there."""
    paths = memberships(membership)
    v2: Hierarchy | None = None
    v1: dict[str, Hierarchy] = {}
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields, tail = before.split(), after.split()
        if not separator or len(fields) < 5 or len(tail) < 3 or tail[0] not in ("cgroup", "cgroup2"):
            continue
        root, point = _unescaped(fields[3]), _unescaped(fields[4])
        options = frozenset(tail[2].split(","))
        names = [""] if tail[0] == "cgroup2" else [name for name in paths if name in options]
        for name in names:
            if name not in paths:
                continue
            path = _above(paths[name], instance)
            below = _below(path, root)
            if below is None:
                continue
            place = Hierarchy(point.rstrip("/") + below, path, frozenset(names) - {""})
            if not name:
                v2 = v2 or place
            else:
                v1.setdefault(name, place)
    return Found(v2, v1)


def memberships(text: str) -> dict[str, str]:
    """Read /proc/PID/cgroup: controller to path; v2's own key is the empty string."""
    paths: dict[str, str] = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        names, separator, path = rest.partition(":")
        if separator:
            for name in names.split(","):
                paths[name] = path
    return paths


def _above(path: str, instance: str) -> str:
    head, separator, _ = (path + "/").partition(f"/{instance}/")
    return (head or "/") if separator else path


def _below(path: str, root: str) -> str | None:
    """Give the part of ``path`` below ``root``, with a leading slash, or nothing; None when it is not below."""
    if root == "/":
        return path.rstrip("/")
    if path == root or path.startswith(root + "/"):
        return path[len(root) :]
    return None


def _unescaped(text: str) -> str:
    """Undo mountinfo's octal escapes of blanks and backslashes."""
    return text.encode("latin-1", "backslashreplace").decode("unicode_escape") if "\\" in text else text
