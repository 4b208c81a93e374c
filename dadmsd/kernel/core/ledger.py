"""What is promised to whom: requests are reserved on admission and given back when nothing of the process is left.

Rule 1: the sum of what is granted never exceeds what there is. Rule 2: a grant is given back once; giving back what was not granted is our bug.
"""

import msgspec

MEBIBYTE = 1024 * 1024


class Grant(msgspec.Struct, frozen=True):
    """What one process has reserved."""

    memory: int  # bytes
    cpu: float  # cores


class Ledger:
    """Reservations against what all processes together may use."""

    def __init__(self, *, memory: int, cpu: float, processes: int) -> None:
        self.memory = memory  # bytes
        self.cpu = cpu  # cores
        self.processes = processes
        self.grants: dict[int, Grant] = {}
        self.memory_reserved = 0
        self.cpu_reserved = 0.0

    def copy(self) -> "Ledger":
        """Give another one with the same grants, to reckon with."""
        made = Ledger(memory=self.memory, cpu=self.cpu, processes=self.processes)
        made.grants = dict(self.grants)
        made.memory_reserved, made.cpu_reserved = self.memory_reserved, self.cpu_reserved
        return made

    def refusal(self, name: str, asked: Grant) -> str:
        """Say why a grant cannot be made, with the numbers; "" when it can."""
        _, why = self.lack(asked)
        return f'cannot start "{name}": {why}' if why else ""

    def lack(self, asked: Grant) -> tuple[str, str]:
        """Say which field of a specification there is no room for, and why not; "" twice when there is."""
        if len(self.grants) >= self.processes:
            return "", f"{len(self.grants)} processes live, at most {self.processes} may (max_processes)"
        if asked.memory > self.memory - self.memory_reserved:
            free = size_text(self.memory - self.memory_reserved)
            return "memory_request", f"{size_text(asked.memory)} asked, {free} free of {size_text(self.memory)}"
        if asked.cpu > self.cpu - self.cpu_reserved + 1e-9:
            return "cpu_request", f"{cores_text(asked.cpu)} asked, {self.cpu - self.cpu_reserved:g} free of {self.cpu:g}"
        return "", ""

    def grant(self, pid: int, asked: Grant) -> None:
        """Reserve what ``refusal`` found to be free."""
        assert pid not in self.grants, f"process {pid} has a grant"
        self.grants[pid] = asked
        self.memory_reserved += asked.memory
        self.cpu_reserved += asked.cpu

    def change(self, name: str, pid: int, asked: Grant) -> str:
        """Replace what a process has reserved; says why that cannot be, with the numbers, and changes nothing then."""
        held = self.grants[pid]
        free, cores = self.memory - self.memory_reserved + held.memory, self.cpu - self.cpu_reserved + held.cpu
        if asked.memory > free:
            return f'cannot reserve for "{name}": {size_text(asked.memory)} asked, {size_text(free)} free of {size_text(self.memory)}'
        if asked.cpu > cores + 1e-9:
            return f'cannot reserve for "{name}": {cores_text(asked.cpu)} asked, {cores:g} free of {self.cpu:g}'
        self.give_back(pid)
        self.grant(pid, asked)
        return ""

    def give_back(self, pid: int) -> None:
        """Free what a process had reserved."""
        grant = self.grants.pop(pid)
        self.memory_reserved -= grant.memory
        self.cpu_reserved = max(0.0, self.cpu_reserved - grant.cpu) if self.grants else 0.0

    def check(self) -> None:
        """Hold Rule 1, and that the sums are those of the grants."""
        assert self.memory_reserved == sum(grant.memory for grant in self.grants.values()), "memory: the sum is not that of the grants"
        assert abs(self.cpu_reserved - sum(grant.cpu for grant in self.grants.values())) < 1e-6, "cpu: the sum is not that of the grants"
        assert self.memory_reserved <= self.memory, "memory: more granted than there is"


def cores_text(cores: float) -> str:
    """Show a number of cores."""
    return f"{cores:g} core{'' if cores == 1 else 's'}"


def size_text(size: int) -> str:
    """Write bytes for people: 64 MiB, 1.5 GiB."""
    for unit, name in ((1024**4, "TiB"), (1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} B"
