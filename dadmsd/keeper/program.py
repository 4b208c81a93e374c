"""The keeper as a program: what is made before its loop, and removed after it, in this order and back.

directories → lock → the servers of a keeper that was killed have ended → what it left is swept → configuration's copy → subreaper, descriptors' limit → loop.
"""

import os
import resource
import signal
import stat
import traceback
from pathlib import Path

from dadms_ipc.errors import DadmsError, HostFailure, RequestRefused
from dadmsd import addresses
from dadmsd import config as configuration
from dadmsd.keeper import descent, directories, predecessors
from dadmsd.keeper.lock import Lock
from dadmsd.keeper.loop import Keeper
from dadmsd.keeper.notify import Notify
from dadmsd.keeper.place import Place
from dadmsd.keeper.servers import ServerCommand
from dadmsd.keeper.settings import Settings
from dadmsd.keeper.store import FDS_RESERVED, Store
from dadmsd.keeper.voice import Voice
from dadmsd.stderr import say

FDS_NEEDED = 128  # descriptors: what each server opens before anybody has asked for anything, twice over
FDS_USEFUL = 500_000  # descriptors: a limit beyond this is no limit
_MANAGERS = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
)  # of the environment: for the keeper alone


def run(*, runtime_dir: Path, state_dir: Path, config: Path | None, lease_fd: int | None, commands: tuple[ServerCommand, ...]) -> int:
    """Run a daemon to its end and give its exit code; raises RequestRefused or HostFailure when it cannot start, with nothing left behind."""
    _open_standard_streams()
    for path in (runtime_dir, state_dir, *((config,) if config is not None else ())):
        directories.check_sayable(path)
    is_private = lease_fd is not None
    text = None if config is None else configuration.read(config)
    checked = configuration.Config() if text is None else configuration.parse(text, str(config))
    addresses.check(checked, text or "", str(config))
    for warning in configuration.warnings(checked, text or ""):
        say(f"dadmsd: warning: {config} {warning}")
    mode = 0o755 if os.geteuid() == 0 and not is_private else 0o700
    directories.check_length(runtime_dir)
    is_made = directories.prepare(runtime_dir, mode)
    if is_private:
        directories.check_removable(runtime_dir)
    lock = Lock(runtime_dir)
    state_lock = None
    try:
        for directory in (state_dir, state_dir / "logs"):
            directories.prepare(directory, 0o700)
        state_lock = Lock(state_dir)  # another daemon may have another runtime directory and the same journal
        if killed := predecessors.await_end(runtime_dir):
            say(f"dadmsd: killed what an earlier daemon had left: {', '.join(killed)}")
        directories.sweep(runtime_dir, is_over=False)
        copy = None
        if text is not None:
            path = runtime_dir / directories.CONFIG_COPY
            path.write_text(text, encoding="utf-8")
            copy = str(path)
        settings = Settings(
            runtime_dir,
            state_dir,
            commands,
            config=copy,
            config_dir="" if config is None else str(config.absolute().parent),
            config_source=None if config is None else config.absolute(),  # the keeper does not stay in this directory
            lease_fd=lease_fd,
            stop_timeout=checked.daemon.stop_timeout_ms / 1000,
            environment={name: value for name, value in os.environ.items() if name not in _MANAGERS},
        )
        place = Place(runtime_dir, lock, mode=mode, copy=None if copy is None else Path(copy))
        return _keep(settings, place)
    except OSError as error:
        raise HostFailure(f"cannot start dadmsd: {error}") from error
    finally:
        if state_lock is not None:
            state_lock.release()
        directories.sweep(runtime_dir, is_over=True)
        lock.release()
        directories.remove(runtime_dir, is_private=is_private, is_made=is_made)


def _keep(settings: Settings, place: Place) -> int:
    descent.become_subreaper()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # whoever started us may have blocked what we live by
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FDS_NEEDED:
        raise HostFailure(f"cannot start dadmsd: {hard} open files are allowed (RLIMIT_NOFILE, hard), at least {FDS_NEEDED} are needed")
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _leave_nothing_open_to_children()
    os.chdir("/")  # the directory in which it was started may be unmounted, or removed
    limit = FDS_USEFUL if hard == resource.RLIM_INFINITY else min(hard, FDS_USEFUL)
    store = Store(max(64, limit - FDS_RESERVED))
    voice = Voice(settings.state_dir / "logs")
    notify = Notify(dict(os.environ))
    try:
        return Keeper(settings, store, voice, notify, place).run()
    except DadmsError:
        raise
    except Exception as error:
        voice.note(traceback.format_exc())
        voice.say(f"internal error, everything is ended: {error!r}; more is in {voice.path}")
        descent.kill(descent.descendants(os.getpid()))
        return 1
    finally:
        notify.close()
        store.close()


def _open_standard_streams() -> None:
    """Open descriptors 0 to 2 where they were closed, so that nothing of ours is taken for one of them."""
    while (fd := os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)) <= 2:
        pass
    os.close(fd)


def _leave_nothing_open_to_children() -> None:
    """Mark close-on-exec what whoever started us left open, the lease above all."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, not paths
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)
            except OSError:
                continue  # the listing's own


def check_lease(fd: int) -> None:
    """Raise RequestRefused when a descriptor cannot be a lease."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError as error:
        raise RequestRefused(f"cannot use descriptor {fd} as a lease: {error.strerror}") from error
    if fd < 3 or not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        raise RequestRefused(f"cannot use descriptor {fd} as a lease: it is not the read end of a pipe or a socket above 2")
