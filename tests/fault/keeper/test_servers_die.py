"""Each server dies, stops or goes mad: the keeper goes on, the others too, and what the kernel had stored is there."""

import itertools
import os
import signal
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.integration.keeper.theatre import String, Theatre, breakable

SERVERS = ("zygote", "kernel", "bus", "logger")


def proper(kernel: String) -> list[str]:
    """Names in the store as a fresh kernel is told them."""
    return [word["fields"]["name"] for word in kernel.hears_until("StoreSent") if word["heard"] == "Stored"]


@pytest.mark.parametrize("victim", SERVERS)
def test_a_killed_server_is_back_and_the_others_have_not_noticed(theatre: Theatre, victim: str) -> None:
    theatre.open()
    cast = {server.name: server for server in theatre.cast(*SERVERS)}
    cast["kernel"].say("Ready")
    os.kill(cast[victim].pid, signal.SIGKILL)
    back = theatre.actor(victim)
    assert back.pid != cast[victim].pid
    for name, server in cast.items():
        if name != victim:
            assert server.do("ignore", signal_name="SIGUSR1") is None
    if victim != "zygote":
        welcome = back.hears("Welcome")["fields"]
        assert (welcome["incarnation"], welcome["epoch"]) == (2, 2 if victim == "kernel" else 1)
    if victim != "kernel":
        lost = cast["kernel"].hears("ServerChanged", server=victim, is_running=False)["fields"]
        assert lost["reason"] == "signal 9 (SIGKILL)"
        assert cast["kernel"].hears("ServerChanged", server=victim, is_running=True)["fields"] == {
            "server": victim,
            "os_pid": back.pid,
            "restarts": 1,
            "is_running": True,
            "reason": "signal 9 (SIGKILL)",
            "last_pid": cast[victim].pid,
        }
    else:
        told = back.hears("ServerChanged", server="kernel")["fields"]
        assert (told["os_pid"], told["restarts"], told["reason"], told["last_pid"]) == (back.pid, 1, "signal 9 (SIGKILL)", cast[victim].pid)
    assert f"{victim} (pid {cast[victim].pid}) ended after" in theatre.said()


@pytest.mark.parametrize("victim", ["kernel", "bus"])
def test_kernel_and_bus_have_a_fresh_link_when_either_is_back(theatre: Theatre, victim: str) -> None:
    theatre.open()
    cast = {server.name: server for server in theatre.cast("kernel", "bus")}
    for server in cast.values():
        server.hears("Linked")
    os.kill(cast[victim].pid, signal.SIGKILL)
    cast[victim] = theatre.actor(victim)
    kernel, bus = cast["kernel"], cast["bus"]
    assert kernel.hears("Linked")["fields"]["incarnation"] == (2 if victim == "bus" else 1)
    word = bus.hears("Linked")
    assert word["fields"]["incarnation"] == word["epoch"] == (2 if victim == "kernel" else 1)
    kernel.do("write", name="bus", text="again")
    assert bus.do("read", name="kernel") == "again"


def test_a_fresh_base_zygote_is_given_to_the_running_kernel(theatre: Theatre) -> None:
    theatre.open()
    kernel, zygote = theatre.cast("kernel", "zygote")
    kernel.hears("StoreSent")
    os.kill(zygote.pid, signal.SIGKILL)
    theatre.actor("zygote")
    kernel.hears("Stored", name="v1/zygote/base")
    kernel.do("write", name="v1/zygote/base", text="you?")
    assert kernel.do("read", name="v1/zygote/base") == "zygote heard you?"


def test_the_store_survives_the_kernel_with_descriptors_that_work(theatre: Theatre) -> None:
    theatre.open()
    kernel = theatre.actor("kernel")
    kernel.do("store", name="v1/port/1001.1")
    kernel.do("write", name="v1/port/1001.1", index=1, text="in flight")
    os.kill(kernel.pid, signal.SIGKILL)
    following = theatre.actor("kernel")
    assert proper(following) == ["v1/zygote/base", "v1/port/1001.1"]
    assert following.do("read", name="v1/port/1001.1") == "in flight"
    following.say("Drop", "v1/port/1001.1")
    os.kill(following.pid, signal.SIGKILL)
    assert proper(theatre.actor("kernel")) == ["v1/zygote/base"]


def test_what_a_kernel_stored_last_is_read_before_the_next_one_starts(theatre: Theatre) -> None:
    theatre.open()
    kernel = theatre.actor("kernel")
    kernel.order("store_then_die", name="v1/port/last")
    assert kernel.is_gone()
    theatre.signal(signal.SIGCONT)  # it was stopped, so that it read nothing before the death
    assert proper(theatre.actor("kernel")) == ["v1/zygote/base", "v1/port/last"]


def test_an_epoch_counts_every_kernel_and_goes_on_over_a_killed_keeper(theatre: Theatre) -> None:
    theatre.open()
    for epoch in (1, 2, 3):
        kernel = theatre.actor("kernel")
        assert kernel.hears("Welcome")["fields"]["epoch"] == epoch
        assert (theatre.runtime / "epoch").read_text() == f"{epoch}\n"
        os.kill(kernel.pid, signal.SIGKILL)
    last = theatre.actor("kernel")
    theatre.signal(signal.SIGKILL)
    theatre.over()
    assert last.is_gone()
    theatre.open()
    assert theatre.actor("kernel").hears("Welcome")["fields"]["epoch"] == 5


def test_every_server_ends_when_the_keeper_is_killed(theatre: Theatre) -> None:
    theatre.open()
    cast = list(theatre.cast(*SERVERS))
    cast[1].hears("StoreSent")
    theatre.signal(signal.SIGKILL)
    theatre.over()
    for server in cast:
        assert server.is_gone(), server.name


def test_exits_of_orphans_reach_every_kernel_until_one_has_them_in_its_journal(theatre: Theatre) -> None:
    theatre.open()
    kernel, zygote = theatre.cast("kernel", "zygote")
    began = time.time()
    orphan = zygote.do("orphan", code=7)
    expected = kernel.hears("OrphanExited")["fields"]
    assert began <= expected["at"] <= time.time()
    assert expected == {"os_pid": orphan, "how": os.CLD_EXITED, "status": 7, "at": expected["at"]}
    os.kill(kernel.pid, signal.SIGKILL)
    following = theatre.actor("kernel")
    assert following.hears("OrphanExited")["fields"] == expected
    following.say("OrphanAcknowledged", orphan)
    os.kill(following.pid, signal.SIGKILL)
    third = theatre.actor("kernel")
    marker = zygote.do("orphan", code=8)
    assert third.hears("OrphanExited")["fields"]["os_pid"] == marker


def test_children_of_a_dead_zygote_fall_to_the_keeper_which_tells_their_exits(theatre: Theatre) -> None:
    theatre.open()
    kernel, zygote = theatre.cast("kernel", "zygote")
    orphan = zygote.do("orphan", code=3, sleep=0.3)
    os.kill(zygote.pid, signal.SIGKILL)
    os.kill(kernel.pid, signal.SIGKILL)
    assert theatre.actor("kernel").hears("OrphanExited", os_pid=orphan)["fields"]["status"] == 3


def test_a_flood_of_orphans_costs_a_kernel_that_sleeps_nothing(theatre: Theatre) -> None:
    theatre.open()
    kernel, zygote = theatre.cast("kernel", "zygote")
    kernel.hears("StoreSent")
    os.kill(kernel.pid, signal.SIGSTOP)
    count = 700
    zygote.do("orphans", count=count)
    zygote.do("orphan", code=0)  # by now the keeper has had every one of them to reap
    os.kill(kernel.pid, signal.SIGCONT)
    told: set[int] = set()
    while len(told) < count:
        fields = kernel.hears("OrphanExited")["fields"]
        told.add(fields["os_pid"])
        kernel.say("OrphanAcknowledged", fields["os_pid"])
    assert len(Path(f"/proc/{theatre.pid}/task/{theatre.pid}/children").read_text().split()) == 4  # the servers: no zombie is left
    assert "ended after" not in theatre.said()


def test_a_server_that_dies_at_once_is_started_less_and_less_often(theatre: Theatre, short_path: Path) -> None:
    theatre.open(bus=breakable("bus", short_path))
    kernel, bus = theatre.cast("kernel", "bus")
    kernel.say("Ready")
    (short_path / "broken").touch()
    os.kill(bus.pid, signal.SIGKILL)
    kernel.hears("ServerChanged", server="bus", restarts=7, is_running=False)
    (short_path / "broken").unlink()
    assert theatre.actor("bus").hears("Welcome")["fields"]["incarnation"] == 9
    lines = [line for line in theatre.servers_log().splitlines() if " bus (pid " in line and " ended after " in line]
    ends = [datetime.fromisoformat(line.split()[0]).timestamp() for line in lines]
    gaps = [later - earlier for earlier, later in itertools.pairwise(ends)]
    assert len(gaps) == 7
    for gap, delay in zip(gaps[1:], (0.01, 0.02, 0.04, 0.08, 0.16, 0.32), strict=True):
        assert gap >= delay - 0.002  # the stamps' own precision


def test_servers_that_cannot_be_started_at_all_are_told_once(theatre: Theatre) -> None:
    theatre.open(zygote="/no/such/python", kernel="/no/such/python", bus="/no/such/python", logger="/no/such/python")
    assert theatre.over() == 1
    first, second = theatre.said().splitlines()
    assert first.endswith('ended 8 times before it was ready, last with cannot start zygote "/no/such/python": No such file or directory')
    assert second == f"dadmsd: more is in {theatre.state}/logs/servers.log"


def test_why_a_server_ends_again_and_again_is_told_once(theatre: Theatre, short_path: Path) -> None:
    theatre.open(bus=breakable("bus", short_path, "cannot listen on 3017"))
    kernel, bus = theatre.cast("kernel", "bus")
    kernel.say("Ready")
    bus.say("Ready")
    kernel.hears("ServerChanged", server="bus", is_running=True)
    (short_path / "broken").touch()
    os.kill(bus.pid, signal.SIGKILL)
    kernel.hears("ServerChanged", server="bus", restarts=5, is_running=False)
    assert theatre.said().count("exit 1: cannot listen on 3017; it is started again") == 1


def test_a_daemon_that_never_stood_gives_up_with_the_reason(theatre: Theatre) -> None:
    theatre.open(kernel="/bin/sh -c 'echo cannot open kernel.db: version 9 is newer than 1 >&2; exit 3'")
    assert theatre.over() == 1
    said = theatre.said().splitlines()
    assert said[0] == (
        "dadmsd: cannot start dadmsd: kernel ended 8 times before it was ready, last with exit 3: cannot open kernel.db: version 9 is newer than 1"
    )
    assert said[1] == f"dadmsd: more is in {theatre.state}/logs/servers.log"
    assert not theatre.runtime.exists()


def test_a_program_that_is_not_there_is_named(theatre: Theatre) -> None:
    theatre.open(bus="/nonexistent/bus")
    assert theatre.over() == 1
    assert 'cannot start bus "/nonexistent/bus": No such file or directory' in theatre.said()


@pytest.mark.parametrize(
    "packet",
    [
        "ff" * 100,
        "00",
        "9401000193a573746f7265",  # a frame that stops in the middle
        "9401000191a57265616479" + "00",  # bytes after the end
        "9463000191a57265616479",  # of version 99
        "9401000191a7756e6b6e6f776e",  # an unknown message
        "940100019104",  # a tag that is no text
        "95010001c0ce7fffffff",  # a frame by memfd, and none came
    ],
)
@pytest.mark.parametrize("sender", ["kernel", "bus", "logger"])
def test_garbage_costs_its_sender_a_restart_and_nobody_else_anything(theatre: Theatre, sender: str, packet: str) -> None:
    theatre.open()
    cast = {server.name: server for server in theatre.cast("kernel", "bus", "logger")}
    cast["kernel"].say("Ready")
    cast[sender].order("raw", packet=packet)
    assert theatre.actor(sender).hears("Welcome")["fields"]["incarnation"] == 2
    assert f"{sender} (pid {cast[sender].pid}) is killed: " in theatre.said()


def test_a_message_of_another_part_costs_its_sender_a_restart(theatre: Theatre) -> None:
    theatre.open()
    kernel, bus = theatre.cast("kernel", "bus")
    kernel.say("Ready")
    bus.order("say", message="Stopped", args=[])
    assert theatre.actor("bus").hears("Welcome")["fields"]["incarnation"] == 2
    kernel.order("say", message="Stopped", args=[])  # it is the kernel's to say, but not now
    assert theatre.actor("kernel").hears("Welcome")["fields"]["incarnation"] == 2


def test_a_server_that_ends_its_channel_and_lives_on_is_killed(theatre: Theatre) -> None:
    theatre.open()
    kernel, bus = theatre.cast("kernel", "bus")
    kernel.say("Ready")
    bus.do("ignore", signal_name="SIGTERM")
    bus.do("close")
    assert theatre.actor("bus").hears("Welcome")["fields"]["incarnation"] == 2
    assert "ended its channel and not itself: killed" in theatre.said()


def test_a_kernel_that_stores_without_end_is_refused_beyond_the_limit(theatre: Theatre) -> None:
    theatre.open(files=600)
    kernel = theatre.actor("kernel")
    kernel.say("Ready")
    before = memory(theatre.pid)
    kernel.do("store_many", first=0, count=5000)
    refused = kernel.hears("StoreRefused", name="v1/port/4999")["fields"]["reason"]
    assert "descriptors are held, at most 344 fit" in refused
    assert len(os.listdir(f"/proc/{theatre.pid}/fd")) < 400  # noqa: PTH208 - numbers, not paths
    assert memory(theatre.pid) - before < 8 * 1024
    assert len(theatre.servers_log().splitlines()) < 200
    os.kill(kernel.pid, signal.SIGKILL)  # the store still serves
    assert len(proper(theatre.actor("kernel"))) > 150


def test_a_kernel_that_sleeps_holds_nobody_up(theatre: Theatre) -> None:
    theatre.open()
    kernel, bus = theatre.cast("kernel", "bus")
    kernel.hears("StoreSent")
    os.kill(kernel.pid, signal.SIGSTOP)
    for _ in range(3):
        os.kill(bus.pid, signal.SIGKILL)
        bus = theatre.actor("bus")
    os.kill(kernel.pid, signal.SIGCONT)
    assert kernel.hears("Linked", incarnation=4)["fds"] == 1


def memory(pid: int) -> int:
    """Resident KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def test_a_keeper_waits_for_the_servers_of_one_that_was_killed(theatre: Theatre) -> None:
    theatre.open()
    kernel = theatre.actor("kernel")
    kernel.hears("StoreSent")
    os.kill(kernel.pid, signal.SIGSTOP)  # it does not see that its keeper is gone
    theatre.signal(signal.SIGKILL)
    theatre.over()
    theatre.open()
    lines = (theatre.runtime / "servers").read_text().splitlines()
    assert any(line.startswith(f"kernel {kernel.pid} ") for line in lines)
    os.kill(kernel.pid, signal.SIGCONT)
    assert kernel.is_gone()
    assert theatre.actor("kernel").hears("Welcome")["fields"]["epoch"] == 2
    assert "killed" not in theatre.said()
