"""Who ran out of memory, when a process was ended by SIGKILL: told from counters of its leaf and of every group above.

A victim is counted in its own leaf, whoever's limit was hit; so the leaf says *that* it was the OOM killer, and the first group upwards whose own limit refused
memory since the last reading says *whose* limit. None of them means the host itself.

v2 counts the very event (``memory.events.local``, "oom"). v1 counts refused charges, and one that found room after a reclaim counts too: where a leaf and its
group were both at their limit, the leaf is named, and ``is_certain`` is False.
"""

import signal
from typing import NamedTuple

from dadmsd.kernel.host.backend import Backend


class Reading(NamedTuple):
    """The counters of a leaf and of the groups above it, the leaf first and the instance (empty name) last."""

    levels: tuple[tuple[str, int, int], ...]  # (group, victims in it, refusals of its own limit)


class Verdict(NamedTuple):
    """What the OOM killer had to do with an end."""

    where: str  # "leaf", "group", "instance" or "host"
    group: str  # whose limit was hit; the empty name is the instance's, and the host has none
    is_certain: bool
    text: str  # one sentence for a person


def read(backend: Backend, leaf: str) -> Reading:
    """Read the counters; a group that is gone counts nothing."""
    names = [leaf]
    while names[-1]:
        names.append(names[-1].rpartition("/")[0])
    return Reading(tuple((name, *backend.refusals(name)) for name in names))


def attribute(before: Reading | None, after: Reading, signal_number: int) -> Verdict | None:
    """Judge an end by this signal between two readings; None when the OOM killer did not do it.

    ``before`` is the reading from when the leaf was made, or of the last verdict on its group. Without one the leaf counts as new, and what groups above it have
    refused may be older than it: a verdict on them is uncertain then.
    """
    if signal_number != signal.SIGKILL:
        return None
    earlier = {name: (victims, refusals) for name, victims, refusals in before.levels} if before else {}
    leaf, victims, _ = after.levels[0]
    if victims <= earlier.get(leaf, (0, 0))[0]:
        return None
    hit = [name for name, _, refusals in after.levels if refusals > earlier.get(name, (0, 0))[1]]
    if not hit:
        return Verdict("host", "", True, f'the host ran out of memory, and the OOM killer chose a process of "{leaf}"')
    is_certain = len(hit) == 1 and (before is not None or hit[0] == leaf)
    if hit[0] == leaf:
        return Verdict("leaf", leaf, is_certain, f'"{leaf}" grew beyond its own memory limit')
    if hit[0]:
        return Verdict(
            "group", hit[0], is_certain, f'process {hit[0]} with its workers grew beyond its memory limit, and "{leaf}" was chosen to end'
        )
    return Verdict(
        "instance", "", is_certain, f'all processes together grew beyond the daemon\'s memory limit, and "{leaf}" was chosen to end'
    )
