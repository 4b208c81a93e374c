"""Turns answers of the core into bytes, with what only the machine knows: memory in use, our own pid, the text of a log."""

import os
from pathlib import Path

import msgspec

from dadms_ipc.requests import DaemonInfo, LogPiece, ProcessInfo, ReadLog
from dadmsd.kernel.confine import Confinement
from dadmsd.kernel.core.lifecycle import ENDED
from dadmsd.kernel.core.state import State
from dadmsd.logger import reading, segments

PIECE_MOST = 60_000  # bytes of a log in one answer


def encode_answer(answer: object, state: State, confinement: Confinement, *, is_measured: bool = True) -> bytes:
    """Encode an answer as msgpack; who waits for a process is not told what it uses, and who lists a thousand gets of each what is quickly read."""
    if isinstance(answer, list):
        answer = [_completed(each, state, confinement, is_brief=True) for each in answer]
    elif isinstance(answer, ProcessInfo) and not is_measured:
        answer = _with_log(answer)
    elif isinstance(answer, ReadLog):
        answer = _read_log(answer, state)
    else:
        answer = _completed(answer, state, confinement)
    return msgspec.msgpack.encode(answer)


def _with_log(process: ProcessInfo) -> ProcessInfo:
    """Leave out the path of a log that is not there: the process has said nothing."""
    return process if os.access(process.log, os.F_OK) else msgspec.structs.replace(process, log="")


def _completed(answer: object, state: State, confinement: Confinement, *, is_brief: bool = False) -> object:
    if isinstance(answer, DaemonInfo):
        servers = {"kernel": {"os_pid": os.getpid(), "restarts": state.settings.incarnation - 1, "running": True}, **answer.servers}
        return msgspec.structs.replace(answer, os_pid=os.getpid(), machine=_machine(), servers=servers)
    if isinstance(answer, ProcessInfo):
        answer = _with_log(answer)
    if isinstance(answer, ProcessInfo) and answer.status not in ENDED:
        usage = confinement.usage(answer.pid, is_brief=is_brief)
        if usage is not None:
            return msgspec.structs.replace(
                answer,
                memory=usage.memory,
                memory_peak=usage.memory_peak,
                cpu_seconds=usage.cpu_seconds,
                pids=usage.pids,
                throttled_seconds=usage.throttled_seconds,
                pressure=dict(usage.pressure),
            )
    return answer


def _machine() -> dict[str, float]:
    """Read what the machine has and has left."""
    import psutil  # when it is first asked for: a kernel that takes over has better things to import

    memory = psutil.virtual_memory()
    return {
        "cores": float(len(os.sched_getaffinity(0))),
        "memory": float(memory.total),
        "memory_available": float(memory.available),
        "load": psutil.getloadavg()[0],
    }


def _read_log(request: ReadLog, state: State) -> LogPiece:
    """Read a piece of a log; a log that is not there yet is empty."""
    logs = Path(state.settings.state_dir, "logs")
    path = str(segments.path(logs, str(request.pid)))
    try:
        piece = reading.read(logs, str(request.pid), request.offset, max(0, min(PIECE_MOST, request.limit)))
    except OSError:
        return LogPiece(b"", 0, 0, path)
    return LogPiece(piece.data, piece.offset, piece.end, path, piece.first)
