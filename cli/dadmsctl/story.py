"""What the events of one process come to: its tasks, its marks in time, and where the time went. Pure: events in, facts out.

Times of tasks: a ``thread.completed`` carries the seconds that the entry ran, and the event's own moment is when the kernel knew of it; so a task's time on the
clock is taken as the end's moment less the seconds that it ran.
"""

from dataclasses import dataclass, field
from typing import Any

from dadms_ipc.requests import EventInfo

# What an event says about its thread's state.
THREAD_STATES = {
    "thread.started": "running",
    "thread.completed": "completed",
    "thread.error": "error",
    "thread.terminated": "terminated",
    "thread.timed_out": "timed_out",
}
MARKS = ("process.admitted", "process.importing", "process.starting", "process.running", "process.ended")


@dataclass
class Task:
    """One thread of the process."""

    tid: int
    label: str
    worker: int = 0
    os_pid: int = 0
    started_at: float = 0.0
    ended_at: float = 0.0
    run_seconds: float = 0.0
    cpu_seconds: float = 0.0
    state: str = "running"
    cause: str = ""
    message: str = ""

    @property
    def began_at(self) -> float:
        """Give the moment when the work itself began."""
        return self.ended_at - self.run_seconds if self.ended_at else self.started_at


@dataclass
class Story:
    """The events of one process, folded; ``last`` is the number of the newest one that was taken."""

    pid: int
    tasks: dict[int, Task] = field(default_factory=dict)
    marks: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    limits: dict[str, str] = field(default_factory=dict)
    limit_values: dict[str, Any] = field(default_factory=dict)  # the same as numbers
    restarts: list[str] = field(default_factory=list)  # servers that died meanwhile
    last: int = 0

    @property
    def has_ended(self) -> bool:
        """Tell whether the process has ended."""
        return "process.ended" in self.marks

    def take(self, event: EventInfo) -> None:
        """Fold one event in; kinds that are not known change nothing."""
        self.last = max(self.last, event.number)
        data = event.data if isinstance(event.data, dict) else {}
        if event.kind in MARKS:
            self.marks.setdefault(event.kind, event.at)
        elif event.kind == "limits":
            self.limits.update(data.get("limits") or {})
            self.limit_values.update(data.get("values") or {})
            for name in data.get("lifted") or []:
                self.limits.pop(name, None)
                self.limit_values.pop(name, None)
            self.warnings += [warning for warning in data.get("warnings") or [] if warning not in self.warnings]
        elif event.kind == "server.restarted":
            self.restarts.append(str(data.get("server", "")))
        elif event.kind in THREAD_STATES and isinstance(data.get("tid"), int):
            self._take_thread(event, data)

    def _take_thread(self, event: EventInfo, data: dict[str, Any]) -> None:
        task = self.tasks.setdefault(data["tid"], Task(data["tid"], str(data.get("label") or data.get("entry") or data["tid"])))
        task.worker = data.get("worker") or task.worker
        task.os_pid = data.get("os_pid") or task.os_pid
        if event.kind == "thread.started":
            task.started_at = event.at
            return
        task.ended_at = event.at
        task.run_seconds = float(data.get("run_seconds") or 0.0)
        task.cpu_seconds = float(data.get("cpu_seconds") or 0.0)
        task.state = THREAD_STATES[event.kind]
        task.cause = str(data.get("cause") or "")
        task.message = ": ".join(str(data[key]) for key in ("kind", "message") if data.get(key))

    def running(self) -> list[Task]:
        """Give the tasks that run now, the oldest first."""
        return [task for task in self.tasks.values() if task.state == "running"]

    def failed(self) -> list[Task]:
        """Give the tasks that ended in any way but well."""
        return [task for task in self.tasks.values() if task.state not in ("running", "completed")]


@dataclass(frozen=True)
class Spent:
    """Where the seconds of a run went; parts of ``total`` that do not overlap, and what the tasks did meanwhile."""

    total: float  # from the first look at the model to the end of the process
    check: float  # reading and checking the model
    daemon: float  # starting a private daemon
    importing: float  # the orchestrator's code and the handlers module
    starting: float  # fork, limits, gate, load of the model
    tasks: float  # at least one task ran
    other: float  # everything else: between tasks, and the daemon's work
    work: float  # seconds that tasks ran, each counted
    cpu: float  # seconds of CPU that they used

    @property
    def parallelism(self) -> float:
        """Give how many tasks ran at once on average, while any ran."""
        return self.work / self.tasks if self.tasks else 0.0


def spent(story: Story, *, total: float, check: float, daemon: float) -> Spent:
    """Share the seconds of a run out."""
    done = [task for task in story.tasks.values() if task.ended_at]
    tasks = covered([(task.began_at, task.ended_at) for task in done])
    importing = _between(story, "process.importing", "process.starting")
    starting = _between(story, "process.starting", "process.running")
    return Spent(
        total=total,
        check=check,
        daemon=daemon,
        importing=importing,
        starting=starting,
        tasks=tasks,
        other=max(0.0, total - check - daemon - importing - starting - tasks),
        work=sum(task.run_seconds for task in done),
        cpu=sum(task.cpu_seconds for task in done),
    )


def covered(spans: list[tuple[float, float]]) -> float:
    """Give the seconds that lie in at least one span."""
    seconds, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        seconds += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return seconds


def _between(story: Story, begin: str, end: str) -> float:
    if begin not in story.marks or end not in story.marks:
        return 0.0
    return max(0.0, story.marks[end] - story.marks[begin])
