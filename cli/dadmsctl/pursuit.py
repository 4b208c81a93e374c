"""Spawning a job and following it to its end: events as they come, Ctrl-C, and daemons that die on the way.

1. A kernel or a bus that is restarted is a delay: the client asks again, and events have numbers, so none is told twice or left out.
2. The first Ctrl-C asks the process to stop and goes on following it; the second one returns at once, and the daemon does the rest.
3. A daemon that stays and whose keeper dies is waited for: a service manager starts it again, and the process goes on from its checkpoint.
4. Ctrl-C waits while the process is being spawned: a process whose number we do not know could not be stopped.
"""

import contextlib
import signal
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dadms_ipc import requests
from dadms_ipc.errors import HostFailure, Unreachable
from dadmsctl.narrator import Narrator
from dadmsctl.story import Story
from dadmsctl.waiting import PARKED, await_end

if TYPE_CHECKING:
    from dadms_ipc.client import Client
    from dadmsctl.door import Door

COMEBACK_SECONDS = 15.0  # that a service manager has for the next daemon: RestartSec is 0.1 s, and a start takes less than one
LOOK = 0.1  # seconds between looks for it


def spawn(client: "Client", spec: requests.Spec) -> int:
    """Spawn a process and give its number."""
    with _undisturbed():
        pid = client.call(requests.Spawn(spec))["pid"]
    assert isinstance(pid, int)
    return pid


def comeback(place: "Door", lost: Unreachable) -> "Client":
    """Give a client of the daemon that follows one that was lost; raises ``lost`` when none comes. Who has more patience with answers has it here as well."""
    deadline = time.monotonic() + max(COMEBACK_SECONDS, place.timeout)
    while time.monotonic() < deadline:
        with contextlib.suppress(Unreachable):
            return place.connect()
        time.sleep(LOOK)  # nobody would tell us
    raise lost


def follow(client: "Client", story: Story, narrator: Narrator, *, sees_servers: bool) -> requests.ProcessInfo:
    """Tell the story of a process until it has ended, and give it as it ended; KeyboardInterrupt leaves when it was asked to stop.

    ``sees_servers``: the events of the daemon itself are told too, as the daemon is ours alone.
    """
    try:
        return _to_the_end(client, story, narrator, sees_servers=sees_servers)
    except KeyboardInterrupt:
        with contextlib.suppress(KeyboardInterrupt):
            narrator.say("Ctrl-C: asking the process to stop (once more: return at once)", style="yellow", sign="■")
            client.call(requests.Kill(story.pid, reason="Ctrl-C"))
            _to_the_end(client, story, narrator, sees_servers=sees_servers)
        raise


def _to_the_end(client: "Client", story: Story, narrator: Narrator, *, sees_servers: bool) -> requests.ProcessInfo:
    while not story.has_ended:
        page: requests.EventPage = client.call(requests.Events(story.last, pid=None if sees_servers else story.pid, wait=PARKED))
        for event in page.events:
            if event.pid in (story.pid, 0):
                story.take(event)
                narrator.tell(event, story)
        if page.events:
            story.last = max(story.last, page.events[-1].number)
        elif client.call(requests.Status(story.pid)).ended_at:  # its events are gone already: a daemon keeps so many only
            break
    try:
        return await_end(client, story.pid, timeout=client.timeout)
    except HostFailure as error:
        raise HostFailure(f"cannot learn how process {story.pid} ended: {error}") from error


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold SIGINT back until the block has ended."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
