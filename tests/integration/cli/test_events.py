"""A reader of the events that is slow: within the bound it misses none, beyond it is told which are gone."""

import itertools
import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from dadms_ipc import requests
from dadms_ipc.client import Client
from dadmsd.kernel.core.state import EVENTS_KEPT
from tests.conftest import Daemon
from tests.integration.cli.conftest import PATIENCE, Ctl, Start

TELLS = "tests.integration.cli.telling_orchestrator:TELLS"


def tell(client: Client, facts: int) -> int:
    """Have so many facts told; gives the number of the newest event."""
    config = msgspec.Raw(msgspec.msgpack.encode({"facts": facts}))
    spec = requests.Spec("t", TELLS, config=config, environment={"PYTHONPATH": str(Path(__file__).parents[3])})
    pid = int(client.call(requests.Spawn(spec))["pid"])
    assert client.call(requests.Wait(pid, timeout=50.0), timeout=60.0).status == "completed"
    return int(client.call(requests.Events(2**53)).last)


def read_to(follower: "subprocess.Popen[str]", last: int) -> list[int]:
    """Read what it prints up to the event of this number; gives the numbers."""
    assert follower.stdout is not None
    guard = threading.Timer(PATIENCE, follower.kill)
    guard.start()
    numbers: list[int] = []
    for line in follower.stdout:
        numbers.append(json.loads(line)["number"])
        if numbers[-1] >= last:
            break
    guard.cancel()
    return numbers


def test_a_slow_reader_misses_none_within_the_bound_and_is_told_what_is_gone_beyond_it(
    keeper_daemon: Daemon, wait_for: Callable[[Daemon], None], start: Start, ctl: Ctl
) -> None:
    """Nobody reads the pipe of one who follows, so that it stands still, as a reader does whose disk is slow."""
    wait_for(keeper_daemon)
    at = ("--runtime-dir", keeper_daemon.runtime_dir)
    with Client(keeper_daemon.runtime_dir, timeout=20.0) as client:
        slow = start(*at, "events", "-f", "--json")
        last = tell(client, EVENTS_KEPT - 2000)
        assert read_to(slow, last) == list(range(1, last + 1))
        last = tell(client, 2 * EVENTS_KEPT)
        numbers = read_to(slow, last)
        oldest = last - EVENTS_KEPT + 1
        (gap,) = ((before, after) for before, after in itertools.pairwise(numbers) if after != before + 1)
        slow.kill()
        assert slow.stderr is not None
        assert f"dadmsctl: events {gap[0] + 1} to {gap[1] - 1} are gone: the newest 10 000 are kept" in slow.stderr.read()
        assert gap[1] <= oldest
        resumed = ctl(*at, "events", "--json", "--after", str(oldest + 100))  # a few may come meanwhile
        numbers = [json.loads(line)["number"] for line in resumed.stdout.splitlines()]
        assert numbers == list(range(oldest + 101, numbers[-1] + 1)), "within the bound"
        assert numbers[-1] >= last
        assert resumed.stderr == ""
        assert ctl(*at, "events", "--after", "5").stderr.startswith("dadmsctl: events 6 to "), "beyond it"
