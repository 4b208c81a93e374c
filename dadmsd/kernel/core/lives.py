"""The history: incarnations that have ended, the oldest end first, and the last one of each process, for whoever asks after it when it has left the table."""

from collections import deque
from collections.abc import Iterable, Iterator

from dadms_ipc.requests import ProcessInfo
from dadmsd.kernel.core.records import Life

CLD_EXITED = 1  # si_code of waitid(2)
HAS_ENDED = {
    "completed": "completed",
    "failed": "failed",
    "killed": "was killed",
    "stopped": "was stopped",
}  # status -> what one says of it


class Lives:
    """The newest ``most`` of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lives: deque[Life] = deque()
        self._last: dict[int, Life] = {}  # of each process

    def __len__(self) -> int:
        """Count them."""
        return len(self._lives)

    def __iter__(self) -> Iterator[Life]:
        """Give them, the oldest end first."""
        return iter(self._lives)

    def __reversed__(self) -> Iterator[Life]:
        """Give them, the newest end first."""
        return reversed(self._lives)

    def last(self, pid: int) -> Life | None:
        """Give the last one of a process."""
        return self._last.get(pid)

    def add(self, life: Life) -> list[Life]:
        """Take one in; gives those that go for it."""
        self._lives.append(life)
        self._last[life.pid] = life
        gone = []
        while len(self._lives) > self._most:
            oldest = self._lives.popleft()
            if self._last[oldest.pid] is oldest:
                del self._last[oldest.pid]
            gone.append(oldest)
        return gone

    def take_up(self, lives: Iterable[Life]) -> None:
        """Take in those that an earlier kernel kept."""
        for life in sorted(lives, key=lambda each: each.number):
            self.add(life)


def past_info(life: Life, state_dir: str) -> ProcessInfo:
    """Show a process that has left the table, as its last incarnation was; what it came to and what it was held to is not known any more."""
    return ProcessInfo(
        pid=life.pid,
        incarnation=life.incarnation,
        name=life.name,
        orchestrator=life.orchestrator,
        status=life.status,
        uid=life.uid,
        group=life.group,
        created_at=life.begun_at,
        ready_at=life.ready_at,
        ended_at=life.ended_at,
        cause=life.cause,
        reason=life.reason,
        memory_peak=life.memory_peak,
        cpu_seconds=life.cpu_seconds,
        log=f"{state_dir}/logs/{life.pid}.log",
        kind=life.kind,
        desired="down",
        exit_code=life.exit_status if life.exit_how == CLD_EXITED else None,
        exit_signal=life.exit_status if life.exit_how > CLD_EXITED else None,
        parent=life.parent,
        begun_at=life.begun_at,
        started_at=life.started_at,
        is_past=True,
    )
