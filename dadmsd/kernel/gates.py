"""What a child learns at its gate: who it is, where it works, and the environment that it starts with.

A gate is made when the limits of its child are in force; what is made on the way, a working directory, belongs to the user that the child runs as.
"""

import contextlib
import errno
import os
import pwd
from collections.abc import Mapping
from pathlib import Path

import msgspec

from dadms_ipc import port
from dadms_ipc.errors import HostFailure
from dadmsd import programs
from dadmsd.kernel import proofs
from dadmsd.kernel.confine import Confined
from dadmsd.kernel.core.bounds import SECONDS_MOST
from dadmsd.kernel.core.processes import code_of
from dadmsd.kernel.core.records import Child, Process
from dadmsd.kernel.core.state import State
from dadmsd.zygote import messages as zygote

# One thread a process unless the user says otherwise: a zygote that forks must have one, and a worker holds one slot.
QUIET_LIBRARIES = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS"), "1"
)


class Gates:
    """Makes the messages that open gates."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._settings = state.settings

    def make(self, child: Child, process: Process | None, confined: Confined, told: Mapping[str, str]) -> msgspec.Struct:
        """Make the gate of a child; a command is ``told`` by its environment how to say that it is ready. Raises HostFailure."""
        settings = self._settings
        if child.role == "zygote":
            user, gid, groups = _user(child.uid)
            return zygote.ZygoteGate(
                name=child.name,
                uid=child.uid,
                gid=gid,
                groups=groups,
                orchestrator=child.key.split("|")[0] if process is None else code_of(process.spec),
                handlers=process.spec.handlers if process is not None else None,
                environment=self._environment(user, child.uid, process),
            )
        assert process is not None, f"{child.name} without a process"
        directory = self._directory(process)
        if child.role == "worker":
            return zygote.WorkerGate(
                pid=process.pid,
                incarnation=child.incarnation,
                worker=child.number,
                first_sequence=1,
                config=process.spec.config,
                directory=directory,
                rlimits=confined.left,
                workplace=process.spec.directory or "",
                is_async=child.kind.is_async,
            )
        if child.is_command:
            return self._command(child, process, confined, directory, told)
        forker = self._state.children.get(child.parent)
        known = self._state.checkpoints.get(process.pid)
        return port.Gate(
            pid=process.pid,
            incarnation=child.incarnation,
            secret=self._state.secret(process.pid, child.incarnation),
            name=process.spec.name,
            config=process.spec.config,
            control=f"ipc://{settings.runtime_dir}/control.sock",
            data=f"ipc://{settings.runtime_dir}/data.sock",
            directory=directory,
            ready_timeout=process.spec.ready_timeout or settings.ready_timeout,
            rlimits=[(limit.resource, limit.value) for limit in confined.left],
            topics=forker.topics if forker is not None else [],
            workplace=process.spec.directory or "",
            restored=known.value if known is not None else None,
            watchdog=min(process.spec.watchdog or 0.0, SECONDS_MOST),
        )

    def give_secret(self, child: Child, process: Process) -> None:
        """Leave the secret of a command's incarnation where its user finds it. Raises HostFailure."""
        owner = None if process.uid == self._settings.uid else (process.uid, _user(process.uid)[1])
        secret = self._state.secret(process.pid, child.incarnation)
        proofs.give(self._settings.runtime_dir, child.name, secret, owner=owner)

    def _command(self, child: Child, process: Process, confined: Confined, directory: str, told: Mapping[str, str]) -> zygote.CommandGate:
        """Make the gate of a service or tool."""
        spec = process.spec
        user, gid, groups = _user(child.uid)
        argv = spec.command
        if child.role == "probe":
            argv = spec.ready_command if child.key == "ready" else spec.live_command
        identity = {
            "DADMS_PID": str(process.pid),
            "DADMS_INCARNATION": str(child.incarnation),
            "DADMS_RUNTIME_DIR": self._settings.runtime_dir,
        }
        return zygote.CommandGate(
            argv=argv,
            environment={**self._environment(user, child.uid, process, quiet=False), **told, **identity},
            directory=spec.directory or directory,
            umask=spec.umask,
            uid=child.uid,
            gid=gid if spec.gid is None else spec.gid,
            groups=groups if spec.gid is None else sorted({*groups, spec.gid}),
            rlimits=confined.left,
            niceness=spec.nice,
            no_new_privileges=spec.no_new_privileges,
        )

    def _environment(self, user: str, uid: int, process: Process | None, *, quiet: bool = True) -> dict[str, str]:
        """Make the environment of a zygote or a command: minimal, or that of the user who runs a private daemon."""
        if self._settings.is_private:
            base = {name: value for name, value in os.environ.items() if not name.startswith("DADMS_")}
        else:
            home = "/"
            with contextlib.suppress(KeyError):
                home = pwd.getpwuid(uid).pw_dir
            base = {"PATH": programs.PATH, "LANG": "C.UTF-8", "HOME": home, "USER": user, "LOGNAME": user}
        # Handlers, too, may open a client of this daemon.
        extra = {"DADMS_RUNTIME_DIR": self._settings.runtime_dir} | (process.spec.environment if process is not None else {})
        return {**(QUIET_LIBRARIES if quiet else {}), **base, **extra}

    def _directory(self, process: Process) -> str:
        """Make the working directory of a process, its user's alone."""
        name = f"{self._settings.work_dir}/{process.pid}"
        if process.uid == self._settings.uid:
            with contextlib.suppress(OSError):  # as a rule that is all; a thousand are made at once
                os.mkdir(name, 0o700)  # noqa: PTH102 -- a path object costs ten times as much as the call
                return name
        path = Path(name)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if process.uid != self._settings.uid:
                for passed in (
                    path.parent,
                    path.parent.parent,
                ):  # to be passed through, not to be listed: what is in them has modes of its own
                    passed.chmod(0o711)
                os.chown(path, process.uid, _user(process.uid)[1])
        except OSError as error:
            raise HostFailure(f'cannot make the working directory "{path}": {error.strerror}') from error
        return name


def _user(uid: int) -> tuple[str, int, list[int]]:
    """Look a user up: (name, group, all groups)."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        if uid == os.getuid():
            return str(uid), os.getgid(), os.getgroups()
        raise HostFailure(f"cannot run as user {uid}: there is no such user") from None
    try:
        return entry.pw_name, entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid)
    except OSError as error:
        raise HostFailure(f"cannot read the groups of user {entry.pw_name}: {errno.errorcode.get(error.errno or 0, str(error))}") from error
