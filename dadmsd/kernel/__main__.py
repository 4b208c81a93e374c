"""The kernel's program: ``python -m dadmsd.kernel --keeper-fd N``, started by the keeper."""

import argparse
import gc
import hashlib
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

import dadmsd
from dadms_ipc.channel import Channel, Frame, adopt
from dadms_ipc.errors import ChannelClosed, DadmsError, HostFailure, PeerViolation
from dadmsd import config
from dadmsd.keeper import messages as keeper
from dadmsd.kernel import host
from dadmsd.kernel.adoption import end_outlived
from dadmsd.kernel.confine import Confinement
from dadmsd.kernel.core.state import Settings
from dadmsd.kernel.journal import DAEMON_RESTARTED, JOURNAL_DAMAGED, Journal
from dadmsd.kernel.run import Loop
from dadmsd.stderr import say

WELCOME_TIMEOUT = 10.0  # seconds for the keeper to say who we are


def main() -> int:
    """Run a kernel until its keeper ends it or is gone."""
    parser = argparse.ArgumentParser(prog="dadmsd.kernel", description="Started by dadmsd; not for people.")
    parser.add_argument("--keeper-fd", type=int, required=True)
    options = parser.parse_args()
    gc.disable()  # until all is taken over, for which others wait: nothing of it is garbage
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the keeper decides when we end; a terminal's Ctrl-C reaches us all
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    to_keeper: Channel[Any] = Channel(adopt(options.keeper_fd), keeper.FromKeeper)
    try:
        loop = _start(to_keeper)
    except ChannelClosed:
        return 0  # the keeper is gone before anything began
    except DadmsError as error:
        say(f"kernel: {error}")
        return 1
    gc.freeze()  # what stands now stays: collections look at the rest
    gc.enable()
    try:
        return loop.run()
    except Exception:
        loop.save_flight()  # our bug, or a disk that cannot be written: what led to it
        raise


def _start(to_keeper: Channel[Any]) -> Loop:
    """Read the keeper's welcome and its store, then take over."""
    welcome: keeper.Welcome | None = None
    stored: dict[str, list[int]] = {}
    early: list[Frame[Any]] = []
    while True:
        frame = to_keeper.receive(WELCOME_TIMEOUT)
        if frame is None:
            raise PeerViolation(f"the keeper did not say who we are within {WELCOME_TIMEOUT:g} s")
        match frame.body:
            case keeper.Welcome():
                welcome = frame.body
            case keeper.Stored():
                stored[frame.body.name] = frame.fds
            case keeper.StoreSent():
                break
            case _:
                early.append(frame)
    if welcome is None:
        raise PeerViolation("the keeper sent its store and no welcome")
    to_keeper.epoch = welcome.epoch
    journal = Journal(Path(welcome.state_dir, "kernel.db"), boot_id=welcome.boot_id, daemon=welcome.daemon)
    instance = f"dadms-{hashlib.sha256(welcome.runtime_dir.encode()).hexdigest()[:8]}"
    backend = host.detect(instance, servers=host.servers_of(os.getppid()))
    settings = _settings(welcome, journal, backend)
    confinement = Confinement(backend, memory_limit=settings.memory_limit, children=settings.max_processes + settings.slots)
    if backend.holds:
        try:
            confinement.limit_all(cpu=settings.cpu_limit)
        except HostFailure as error:
            say(f"kernel: all processes together are not held to the budget: {error}")
    loop = Loop(to_keeper, settings, journal, confinement)
    loop.early = early
    rows = list(journal.rows())
    if journal.interruption in (DAEMON_RESTARTED, JOURNAL_DAMAGED):
        end_outlived([*rows, *journal.strays])
    loop.start(rows, list(stored.items()), interruption=journal.interruption)
    return loop


def _definitions(wanted: str, welcome: keeper.Welcome) -> str:
    """Give the directory of definitions: what the configuration says, from where it stands; "" without a configuration."""
    return str(Path(welcome.config_dir, wanted)) if welcome.config is not None and wanted else ""


def _settings(welcome: keeper.Welcome, journal: Journal, backend: host.Backend) -> Settings:
    options = config.load(welcome.config)
    cores = len(os.sched_getaffinity(0))
    return Settings(
        epoch=welcome.epoch,
        boot_id=welcome.boot_id,
        version=dadmsd.__version__,
        instance_key=journal.instance_key,
        uid=os.getuid(),
        runtime_dir=welcome.runtime_dir,
        state_dir=welcome.state_dir,
        is_private=welcome.is_private,
        limits_backend=backend.name,
        holds=backend.holds | backend.steers,
        incarnation=welcome.incarnation,
        max_processes=options.process_kernel.max_processes,
        slots=options.thread_scheduler.max_concurrent_threads,
        policy=options.thread_scheduler.policy,
        look_interval=options.thread_scheduler.scheduling_interval_ms / 1000,
        ready_timeout=options.process_kernel.process_timeout_ms / 1000,
        definitions=_definitions(options.process_kernel.definitions, welcome),
        config_source=welcome.config_source,
        config_copy=welcome.config or "",
        config=msgspec.to_builtins(options),
        retention=options.process_kernel.retention_ms / 1000,
        cleanup_interval=options.process_kernel.cleanup_interval_ms / 1000,
        thread_timeout=options.thread_scheduler.thread_timeout_ms / 1000,
        disk_limit=options.resource_manager.disk_limit_mb * 1024 * 1024,
        memory_limit=options.resource_manager.memory_limit_mb * 1024 * 1024,
        logs_to=options.logger.to,
        cpu_limit=cores * options.resource_manager.cpu_limit_percent / 100,
    )


if __name__ == "__main__":
    sys.exit(main())
