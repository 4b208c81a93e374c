"""A process spawns children: its main speaks as itself, its threads name it as the parent, and both wait for what they started and watch it."""

from collections.abc import Callable
from pathlib import Path

from dadms_ipc import requests
from dadms_ipc.client import Client
from tests.conftest import Daemon
from tests.integration.cli.conftest import Ctl

SPAWNING = "tests.integration.cli.spawning_orchestrator:ORCHESTRATOR"


def test_an_orchestrator_spawns_waits_and_watches_and_is_the_parent_of_what_it_spawned(
    keeper_daemon: Daemon, wait_for: Callable[[Daemon], None], ctl: Ctl
) -> None:
    wait_for(keeper_daemon)
    with Client(keeper_daemon.runtime_dir, timeout=20.0) as client:
        spec = requests.Spec("p", SPAWNING, environment={"PYTHONPATH": str(Path(__file__).parents[3])})
        pid = int(client.call(requests.Spawn(spec))["pid"])
        ended = client.call(requests.Wait(pid, timeout=40.0), timeout=50.0)
        assert ended.status == "completed", ended
        assert ended.outcome == {
            "address": str(pid),
            "company": ["running", pid],
            "ends": [["completed", 0, pid], ["failed", 7, pid]],
            "is_monitored": True,
        }
        tree = ctl("--runtime-dir", keeper_daemon.runtime_dir, "ps", "--all", "--tree").stdout.splitlines()[1:]
        assert {line.split()[1] for line in tree} == {"p", "company", "exits-0", "exits-7"}
        assert [line.index(line.split()[1]) - tree[0].index("p") for line in tree] == [0, 2, 2, 2], tree
        (company,) = (one.pid for one in client.call(requests.List()) if one.name == "company")
        client.call(requests.Kill(company, force=True))
        assert client.call(requests.Wait(company, timeout=20.0), timeout=30.0).status == "killed"
