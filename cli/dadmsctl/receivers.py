"""Who could not be reached: the bus knows who lives, and the kernel's table who did.

A message to one that has ended is refused by the bus as one to nobody. Who wrote it meant somebody: it is told that this one has ended, and what starts it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dadms_ipc.errors import RequestRefused
from dadms_ipc.requests import List, ProcessInfo
from dadmsctl.targets import GROUP, meant
from dadmsctl.waiting import ENDED

if TYPE_CHECKING:
    from dadms_ipc.client import Client

HOW = {"completed": "has completed", "failed": "has failed", "killed": "was killed", "stopped": "is stopped"}


@contextmanager
def reaching(client: "Client", to: str) -> Iterator[None]:
    """Have a refusal say that its receiver has ended, where it has."""
    try:
        yield
    except RequestRefused as error:
        try:
            found = ended(client.call(List()), to)
        except RequestRefused:  # who may not look is told what the bus said
            found = None
        if found is None:
            raise
        raise RequestRefused(f'"{found.name}" ({found.pid}) {HOW[found.status]}; dadmsctl start {found.pid} starts it') from error


def group_exists(client: "Client", name: str) -> None:
    """Refuse a group that no process of the table has, with the names that there are; one whose processes have all ended is one."""
    try:
        table: Sequence[ProcessInfo] = client.call(List())
    except RequestRefused:  # who may not look is told no more than that nobody was reached
        return
    if not any(each.group == name for each in table):
        meant([each for each in table if each.group], GROUP + name)


def ended(table: Sequence[ProcessInfo], to: str) -> ProcessInfo | None:
    """Give the process that an address means, with that of a thread of it (``1001/17``), if none that it means lives."""
    head, slash, tid = to.rpartition("/")
    names = {to, head} if slash and tid.isdecimal() else {to}
    same = [each for each in table if each.name in names or str(each.pid) in names]
    return same[-1] if same and all(each.status in ENDED for each in same) else None
