"""What a request is answered with, as a table: request -> type of its answer."""

from typing import Any

import msgspec

from dadms_ipc import context, dead_letters, requests
from dadms_ipc.errors import PeerViolation
from dadms_ipc.statuses import raise_for

ANSWERS: dict[type, Any] = {
    requests.Spawn: dict[str, Any],
    requests.Start: dict[str, Any],
    requests.Stop: dict[str, Any],
    requests.Restart: dict[str, Any],
    requests.ChangeLimits: dict[str, Any],
    requests.Suspend: dict[str, Any],
    requests.Resume: dict[str, Any],
    requests.Kill: Any,
    requests.KillThread: Any,
    requests.SuspendThread: Any,
    requests.ResumeThread: Any,
    requests.SetThreadPriority: Any,
    requests.SteerGroup: requests.GroupInfo,
    requests.Groups: list[requests.GroupInfo],
    requests.WaitThreads: requests.WaitedInfo,
    requests.ShowThread: requests.ThreadInfo,
    requests.Wait: requests.ProcessInfo,
    requests.List: list[requests.ProcessInfo],
    requests.Status: requests.ProcessInfo,  # with a pid; see `answer_type`
    requests.Threads: list[requests.ThreadInfo],
    requests.Events: requests.EventPage,
    requests.Reload: requests.ReloadReport,
    requests.Compare: requests.ReloadReport,
    requests.Configuration: requests.ConfigurationInfo,
    requests.History: list[requests.LifeInfo],
    requests.Explain: requests.Explanation,
    requests.ReadLog: requests.LogPiece,
    requests.ReadContext: Any,  # with an operation; see `answer_type`
    requests.ChangeContext: Any,
    requests.Shutdown: Any,
    dead_letters.DeadLetters: list[dead_letters.DeadLetter],
    dead_letters.ShowDeadLetter: dead_letters.DeadLetter,
    dead_letters.ReplayDeadLetter: dict[str, int],
    dead_letters.DropDeadLetters: dict[str, int],
}

Request = requests.Request | dead_letters.Request


def service_of(request: Request) -> str:
    """Give the name of the service that a request is for."""
    return "bus" if isinstance(request, dead_letters.Request) else "kernel"


def answer_type(request: Request) -> Any:
    """Give the type that the answer to this request is decoded into."""
    if isinstance(request, requests.Status) and request.pid is None:
        return requests.DaemonInfo
    if isinstance(request, requests.ReadContext | requests.ChangeContext):
        return context.answer_type(request.operation)
    return ANSWERS[type(request)]


def patience(request: Request) -> float:
    """Give the seconds that the kernel may wait on purpose before it answers."""
    if isinstance(request, requests.Wait | requests.WaitThreads):
        return request.timeout
    if isinstance(request, requests.ReadContext):
        return context.patience(request.operation)
    return request.wait if isinstance(request, requests.Events) else 0.0


def decode_answer(request: Request, status: str, body: bytes) -> Any:
    """Give the answer, or raise what its status stands for."""
    raise_for(status, body)
    try:
        return msgspec.msgpack.decode(body, type=answer_type(request))
    except (msgspec.DecodeError, ValueError) as error:
        raise PeerViolation(f"cannot read the answer to {type(request).__name__}: {error}") from error
