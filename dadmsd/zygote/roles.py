"""What a child becomes when its gate opens: a zygote, an orchestrator's main, a worker, or a command.

Signals are what a fresh Python has (SIGPIPE ignored, so that a write to a closed peer raises instead of ending a process silently); a command gets the
system's defaults.
"""

import atexit
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import NoReturn

from dadms_ipc import port as process_port
from dadms_ipc.errors import ChannelClosed, HostFailure, PeerViolation
from dadmsd.stderr import say_all
from dadmsd.worker.loop import Worker
from dadmsd.worker.results import Results
from dadmsd.zygote import birth as births
from dadmsd.zygote import code, exits, user
from dadmsd.zygote.birth import Birth, Gated
from dadmsd.zygote.messages import CommandGate, GateFailed, Imported, ImportFailed, WorkerGate, ZygoteGate
from dadmsd.zygote.server import Zygote
from dadmsd.zygote.surroundings import Surroundings, count_threads

# Thread pools of numeric libraries: a zygote has one thread, and a worker runs one thread of ours at a time.
ONE_THREAD = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
)

_orchestrator: list[code.Orchestrator] = []  # the one that this zygote imported, for the mains and workers that it forks


def live(birth: Birth | None) -> NoReturn:
    """Be what each birth says, to the end of this process."""
    try:
        while birth is not None:
            gated = births.settle(birth)
            birth = _ROLES[birth.role](gated)
    except SystemExit as error:
        leave(_exit_code(error))
    except BaseException:
        say_all(traceback.format_exc())
        leave(exits.BROKEN)
    leave(exits.DONE)


def leave(status: int) -> NoReturn:
    """End this process: exit functions run, streams are flushed, nothing is torn down."""
    try:
        if (threading := sys.modules.get("threading")) is not None:
            threading._shutdown()  # as the interpreter does first: non-daemon threads end
        atexit._run_exitfuncs()
    except BaseException:
        say_all(traceback.format_exc())
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # the log is closed, or user code took the stream away
            continue
    os._exit(status)


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1


def _collect_own() -> None:
    """Have garbage collected from here on, of what this child makes: looking through what it shares with its zygote would copy it, page by page."""
    gc.freeze()
    gc.enable()


def _be_zygote(gated: Gated) -> Birth | None:
    gate = births.await_gate(gated, ZygoteGate)
    try:
        user.become(gate.uid, gate.gid, gate.groups)
        os.environ.clear()
        os.environ.update(gate.environment)
        os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
        user.enter(gate.directory)
    except HostFailure as error:
        births.refuse(gated, GateFailed(str(error)), exits.GATE_FAILED)
    for directory in reversed(gate.environment.get("PYTHONPATH", "").split(os.pathsep)):
        if directory and directory not in sys.path:
            sys.path.insert(0, directory)
    surroundings = Surroundings()
    try:
        imported = _import(gate, surroundings)
    except code.NotImported as error:
        surroundings.restore("a failed import")
        say_all(error.output)
        births.refuse(gated, ImportFailed(str(error), error.output), exits.IMPORT_FAILED)
    surroundings.forget()
    gc.collect()
    gc.freeze()
    try:
        gated.port.send(imported)
    except ChannelClosed:
        leave(exits.ABANDONED)
    return Zygote(gate.name, gated.port, imported=imported, kept=gated.kept | surroundings.kept).serve()


def _import(gate: ZygoteGate, surroundings: Surroundings) -> Imported:
    started, os_pid = time.monotonic(), os.getpid()
    orchestrator = code.import_orchestrator(gate.orchestrator)
    warnings = surroundings.restore(f'orchestrator "{gate.orchestrator}"')
    topics: list[str] = []
    if gate.handlers is not None:
        topics = code.load_handlers(orchestrator, gate.handlers)
        warnings += surroundings.restore(f'handlers "{gate.handlers}"')
    if os.getpid() != os_pid:
        os._exit(exits.DONE)  # a child that the code forked came back from its import: there is one zygote
    if any(getattr(entry, "is_async", False) for entry in orchestrator.entries.values()):
        import_module("dadmsd.worker.asynchronous")  # once, here, instead of in each async worker
    _orchestrator[:] = [orchestrator]
    return Imported(time.monotonic() - started, count_threads(), orchestrator.version, topics, warnings)


def _be_main(gated: Gated) -> NoReturn:
    gate = births.await_gate(gated, process_port.Gate)
    try:
        user.limit(gate.rlimits, 0)
        user.work_in(gate.directory, gate.workplace)
    except HostFailure as error:
        births.refuse(gated, process_port.GateFailed(str(error)), exits.GATE_FAILED)
    _collect_own()
    try:
        status = _orchestrator[0].main(gated.sock, gate)
    except SystemExit as error:
        status = _exit_code(error)
    except BaseException:
        say_all(traceback.format_exc())
        status = 1
    leave(status)


def _be_worker(gated: Gated) -> NoReturn:
    gate = births.await_gate(gated, WorkerGate)
    assert gated.page is not None  # DESCRIPTORS says so
    try:
        user.limit(((limit.resource, limit.value) for limit in gate.rlimits), gate.niceness)
        user.work_in(gate.directory, gate.workplace)
        results = Results(gated.page)
    except (HostFailure, PeerViolation) as error:
        births.refuse(gated, GateFailed(str(error)), exits.GATE_FAILED)
    os.close(gated.page)  # the mapping keeps a duplicate
    _collect_own()
    if gate.is_async:
        from dadmsd.worker.asynchronous import AsyncWorker  # with asyncio, which a zygote without async entries need not hold

        AsyncWorker(gated.port, results, gate, _orchestrator[0].entries).run()
    else:
        Worker(gated.port, results, gate, _orchestrator[0].entries).run()
    leave(exits.DONE)


def _be_command(gated: Gated) -> NoReturn:
    gate = births.await_gate(gated, CommandGate)
    try:
        user.limit(((limit.resource, limit.value) for limit in gate.rlimits), gate.niceness)
        user.become(gate.uid, gate.gid, gate.groups)
        user.enter(gate.directory)
        os.umask(gate.umask)
        if gate.no_new_privileges:
            user.give_up_new_privileges()
        _exec(gate.argv, gate.environment)
    except HostFailure as error:
        births.refuse(gated, GateFailed(str(error)), exits.GATE_FAILED)


def _exec(argv: list[str], environment: dict[str, str]) -> NoReturn:
    """Become a program; the port is close-on-exec, which is how the kernel sees that it worked."""
    if not argv:
        raise HostFailure("cannot run a command without a name")
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and what is ignored stays so
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(argv[0], argv, environment)  # noqa: S606 - what a command is; no shell is wanted
    except (OSError, ValueError) as error:
        raise HostFailure(f'cannot run "{argv[0]}": {getattr(error, "strerror", None) or error}') from error


_ROLES: dict[str, Callable[[Gated], Birth | None]] = {
    "zygote": _be_zygote,
    "main": _be_main,
    "worker": _be_worker,
    "command": _be_command,
}
