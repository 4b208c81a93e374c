"""One run of a model: on the daemon that runs or on one of its own, told as it happens, and ended with its outcome."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dadms_ipc import requests
from dadms_ipc.artifacts import FOLDER
from dadms_ipc.errors import DadmsError, RequestRefused, Unreachable
from dadmsctl import ending, pursuit
from dadmsctl.door import Door
from dadmsctl.excerpt import excerpt
from dadmsctl.exits import Exit, WorkLost
from dadmsctl.job import Job
from dadmsctl.limits import beyond_private, demand, is_strict, requests_from, unasked
from dadmsctl.narrator import Narrator
from dadmsctl.story import Spent, Story, spent
from dadmsctl.terminal import console, write_json

if TYPE_CHECKING:
    from dadms_ipc.client import Client
    from dadmsctl.private import PrivateDaemon

PAGE_WIDTH = 120  # columns of an outcome on a pipe, which is read and not cut into fields; lines of the story are never broken
LOG_BYTES = 16_384  # of a failed process's log that are looked through for what is worth a look


class Asked(msgspec.Struct, frozen=True):
    """What the command line asked for, read and checked."""

    job: Job
    given: dict[str, Any]
    handlers: Path | None
    caps: dict[str, Any]
    is_private: bool | None
    is_quiet: bool
    is_full: bool
    as_json: bool
    began: float  # wall clock, as events have it: before anything was read
    checked: float  # after the model was found in order
    is_verbose: bool = False
    directory: Path | None = None
    is_remote: bool = False  # its files are of another machine


def run(door: Door, asked: Asked) -> Exit:
    """Run what was asked for to its end, show that, and give the exit code."""
    screen = console(stderr=asked.as_json, pipe_width=PAGE_WIDTH)
    with Narrator(
        screen, is_quiet=asked.is_quiet, began=asked.began, is_verbose=asked.is_verbose, defaults=unasked(asked.caps)
    ) as narrator:
        narrator.say(asked.job.headline + (f", handlers {asked.handlers.name}" if asked.handlers else ""))
        with daemon(door, narrator, asked) as (place, private):
            story, process, log = pursue(place, asked, narrator, is_private=private is not None)
            ended = time.time()
            narrator.stop()
            left = _left_behind(private, process.pid)
            if left:
                narrator.warn(
                    f"{left} in the working directory will be removed with the private daemon; --directory DIR keeps what handlers write"
                )
            if asked.as_json:
                write_json(ending.as_document(process, story, _spent(asked, story, private, ended)))
            else:
                ending.show_outcome(screen, process, asked.given, is_full=asked.is_full)
                if not asked.is_quiet:
                    ending.show_time(screen, process, story, _spent(asked, story, private, ended))
    if process.status == "completed":
        return Exit.DONE
    ending.tell_failure(process, log, keeps_log=private is None)
    return Exit.FAILED


def detach(door: Door, asked: Asked) -> int:
    """Spawn what was asked for on the daemon that runs, and give its pid."""
    with door.connect() as client, Narrator(console(stderr=True), is_quiet=True, began=asked.began) as narrator:
        return pursuit.spawn(client, spec_of(client, asked, narrator))


def pursue(place: Door, asked: Asked, narrator: Narrator, *, is_private: bool) -> tuple[Story, requests.ProcessInfo, list[str]]:
    """Spawn the job and follow it; give its story, how it ended, and the end of its log when it did not end well."""
    with place.connect() as client:
        story = Story(pursuit.spawn(client, spec_of(client, asked, narrator)))
        try:
            process = pursuit.follow(client, story, narrator, sees_servers=is_private)
            return story, process, log_of(client, process) if process.status != "completed" else []
        except WorkLost as lost:
            ended = sum(1 for task in story.tasks.values() if task.ended_at)
            raise lost.after(f"{ended} {'task' if ended == 1 else 'tasks'} had ended, {len(story.running())} ran") from lost
        except Unreachable as gone:
            if is_private:
                raise
            lost_daemon = gone
    while True:  # its keeper died: a service manager starts the next one, where the process goes on
        narrator.say(f"{lost_daemon}; waiting for the next one", style="yellow", sign="!")
        with pursuit.comeback(place, lost_daemon) as client:
            narrator.say("a daemon is there again", style="yellow", sign="!")
            try:
                process = pursuit.follow(client, story, narrator, sees_servers=False)
                return story, process, log_of(client, process) if process.status != "completed" else []
            except Unreachable as gone:
                lost_daemon = gone


def _left_behind(private: "PrivateDaemon | None", pid: int) -> str:
    """Say how many files are in the working directory of a process, artifacts apart, that goes away with its private daemon; "" for none."""
    if private is None:
        return ""
    place = private.door.runtime_dir / "state" / "work" / str(pid)
    try:
        names = [found.name for found in place.iterdir() if found.name != FOLDER]
    except OSError:
        return ""
    return f"{len(names)} file{'s' * (len(names) != 1)} ({', '.join(sorted(names)[:3])}{', …' * (len(names) > 3)})" if names else ""


def _spent(asked: Asked, story: Story, private: "PrivateDaemon | None", ended: float) -> Spent:
    daemon = private.start_seconds if private is not None else 0.0
    return spent(story, total=ended - asked.began, check=asked.checked - asked.began, daemon=daemon)


@contextlib.contextmanager
def daemon(door: Door, narrator: Narrator, asked: Asked) -> "Iterator[tuple[Door, PrivateDaemon | None]]":
    """Give the daemon to run on: the one that runs, unless one of its own is asked for or none runs."""
    if asked.is_private is False or (asked.is_private is None and door.is_running()):
        yield door, None
        return
    if why := beyond_private(asked.caps, cores=len(os.sched_getaffinity(0)), is_own=os.geteuid() != 0):
        raise RequestRefused(f'cannot start "{asked.job.name}": {why}')
    from dadmsctl.private import PrivateDaemon

    with PrivateDaemon(door.timeout) as private:
        narrator.say(f"private daemon ready after {private.start_seconds:.2f} s; limits by {private.info.limits_backend}", style="dim")
        yield private.door, private


def spec_of(client: "Client", asked: Asked, narrator: Narrator) -> requests.Spec:
    """Give what the kernel is asked to start; says which default limits it goes without."""
    if is_strict(asked.caps):
        daemon: requests.DaemonInfo = client.call(requests.Status())
        wanted = demand(asked.caps, daemon.limits_backend, is_own=daemon.is_private and os.geteuid() != 0)
    else:
        wanted = demand(asked.caps, "")
    for warning in wanted.warnings:
        narrator.warn(warning)
    return requests.Spec(
        name=asked.job.name,
        orchestrator=asked.job.orchestrator,
        config=msgspec.Raw(asked.job.config),
        handlers=_name_of(asked.handlers, asked),
        limits=wanted.limits,
        **requests_from(asked.caps),
        thread_timeout=asked.caps["thread_timeout"],
        ready_timeout=asked.caps["ready_timeout"],
        enforcement=wanted.enforcement,
        directory=_name_of(asked.directory, asked),
    )


def _name_of(path: Path | None, asked: Asked) -> str | None:
    """Give the name by which the daemon finds a file: links of this machine say nothing about another one."""
    return None if path is None else str(path if asked.is_remote else path.resolve())


def log_of(client: "Client", process: requests.ProcessInfo) -> list[str]:
    """Give what is worth a look at the end of a process's log; nothing where there is none."""
    try:
        piece: requests.LogPiece = client.call(requests.ReadLog(process.pid, -LOG_BYTES))
    except DadmsError:
        return []
    whole = piece.data if not piece.offset else piece.data.partition(b"\n")[2]  # the first line may be cut
    return excerpt(whole.decode(errors="replace").split("\n"))
