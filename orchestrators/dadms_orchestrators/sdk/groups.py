"""Groups of threads: created under one name, waited for, counted and steered together.

1. The kernel counts a group and does to it what is asked, in its order: also to threads that are on their way to it.
2. Leaving a ``with`` block waits for all of its threads; leaving it by an exception cancels them first.
3. Where a failure cancels the rest, nothing more is created in the group after it, and the block ends with GroupFailed.
"""

from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from dadms_ipc.errors import DadmsError, RequestRefused
from dadms_orchestrators.sdk.handles import Handle, Submission, Team, ThreadFailed

if TYPE_CHECKING:
    from dadms_orchestrators.sdk.process import Process


class GroupFailed(DadmsError):
    """Threads of a group failed, and the others were cancelled; ``failures`` tell of those that failed."""

    def __init__(self, name: str, failures: list[ThreadFailed]) -> None:
        more = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
        super().__init__(f'group "{name}" failed: {failures[0]}{more}')
        self.failures = failures


class Progress(NamedTuple):
    """How far a group is."""

    total: int
    completed: int
    failed: int  # ended in any other way

    @property
    def open(self) -> int:
        """Count the threads that have not ended."""
        return self.total - self.completed - self.failed


class Group:
    """Threads of this process that were created under one name."""

    def __init__(self, process: "Process", name: str, *, cancel_on_failure: bool) -> None:
        if not name:
            raise RequestRefused("cannot make a group without a name")
        self._process = process
        self._team = Team(name, cancel_on_failure)
        self._handles: list[Handle] = []
        self._submissions: dict[int, Submission] = {}

    @property
    def name(self) -> str:
        """Give its name."""
        return self._team.name

    @property
    def handles(self) -> list[Handle]:
        """Give its threads, in the order in which they were created."""
        return list(self._handles)

    def create(self, entry: str, argument: object = None, **how: Any) -> Handle:
        """Make one thread of the group, as ``Process.create`` does. Raises RequestRefused when the rest was cancelled after a failure."""
        if self._team.cancels and (failed := self._failed()):
            raise RequestRefused(
                f'cannot create a thread in group "{self.name}": thread {failed[0].tid} of it failed, and the rest was cancelled'
            )
        handle = self._process.create(entry, argument, group=self._team, **how)
        self._handles.append(handle)
        self._submissions[handle.submission.ticket] = handle.submission
        return handle

    def progress(self) -> Progress:
        """Count, without a look at each thread; what the process has not heard of yet is open."""
        failed = sum(len(each.failures) if not each.refusal else each.count for each in self._submissions.values())
        left = sum(each.left if each.outcomes else 0 if each.refusal else each.count for each in self._submissions.values())
        return Progress(len(self._handles), len(self._handles) - left - failed, failed)

    def wait(self, *, count: int | None = None, timeout: float | None = None) -> bool:
        """Wait until all, or ``count``, of its threads have ended; False when the time is up or the process is asked to stop."""
        return self._process.wait(self._handles, count=count, timeout=timeout)

    def suspend(self) -> None:
        """Have all of it stand still; what is created in it from now on waits."""
        self._process.steer_group(self.name, "suspend")

    def resume(self) -> None:
        """Let it go on."""
        self._process.steer_group(self.name, "resume")

    def set_priority(self, priority: int) -> None:
        """Give what waits of it, and what is created in it from now on, another priority, -100 to 100; threads that were given one of their own keep it."""
        self._process.steer_group(self.name, "priority", priority)

    def cancel(self) -> None:
        """Terminate all of its threads."""
        self._process.steer_group(self.name, "kill")

    def _failed(self) -> list[Handle]:
        """Give the threads that failed by themselves, not those that were cancelled."""
        return [
            Handle(each, index)
            for each in self._submissions.values()
            for index in each.failures
            if Handle(each, index).status != "terminated"
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self.cancel()
        is_over = self.wait()
        failed = self._failed()
        if kind is None and is_over and self._team.cancels and failed:
            raise GroupFailed(self.name, [ThreadFailed(handle.tid, handle.result) for handle in failed if handle.result is not None])
