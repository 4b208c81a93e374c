"""Services and tools under crashes of the kernel: each incarnation ends once, the next one begins once, and what was wanted is what is in the end."""

import pytest

from dadms_ipc.requests import ChangeLimits, Kill, Request, Restart, Resume, Start, Stop, Suspend
from tests.property.kernel.test_crashes import CHAOS, hold, run
from tests.property.kernel.world import World

Place = tuple[int, int, int | None]  # turn, act, act of the adoption
MOST = 300  # turns


def lives(world: World, pid: int = 1001) -> list[tuple[int, str, str]]:
    """Give how the incarnations of a process ended, in order."""
    found = [life for life in world.kernel.state.lives if life.pid == pid]
    assert [life.number for life in found] == sorted(life.number for life in found)
    return [(life.incarnation, life.status, life.cause) for life in found]


def play(crash: Place | None) -> tuple[World, list[int]]:
    """Run a service that fails twice and then does what it was to do; gives the number of acts of each turn."""
    world = World(None)
    world.command(1, [(1, 1), (2, 11), (1, 0)], restart="on-failure")
    acts: list[int] = []
    while not world.is_over():
        assert len(acts) < MOST
        world.happen()
        is_here = crash is not None and crash[0] == len(acts)
        if crash is not None and is_here:
            world.adoption_dies_at = crash[2]
        acts.append(world.turn(crash_at=crash[1] if crash is not None and is_here else None))
    hold(world)
    return world, acts


EXPECTED = [(1, "failed", "exited 1"), (2, "failed", "signal 11 (SIGSEGV)"), (3, "completed", "exited 0")]


def test_a_crash_anywhere_in_three_incarnations_changes_nothing() -> None:
    """Between any two acts of any turn, backoff and group removal included."""
    undisturbed, acts = play(None)
    assert lives(undisturbed) == EXPECTED
    for turn, count in enumerate(acts):
        for act in range(count + 2):
            world, _ = play((turn, act, None))
            assert world.crashes == 1
            assert lives(world) == EXPECTED, f"turn {turn}, act {act}"
            assert world.kernel.state.processes[1001].status == "completed"


def test_a_second_crash_in_the_adoption_changes_nothing() -> None:
    """The next kernel dies between any two acts of its adoption."""
    _, acts = play(None)
    for turn, count in enumerate(acts):
        for act in (0, 1, count + 1):
            for again in range(4):
                world, _ = play((turn, act, again))
                assert lives(world) == EXPECTED, f"turn {turn}, act {act}, act {again} of the adoption"


@pytest.mark.parametrize("seed", range(60 * CHAOS))
def test_what_was_asked_for_last_is_what_is_in_the_end(seed: int) -> None:
    """Stops, starts, restarts and kills of a flapping service at any time, with crashes: one live incarnation, numbered in order, and the last word counts."""
    world = World(60_000 + seed)
    world.command(1, [(1, 1), None, (1, 0), None], kind="service", start_limit=0, backoff=0.01, backoff_most=0.05)
    chance = world.random
    for sequence in range(2, 8):
        for _ in range(chance.randrange(1, 12)):
            world.happen()
            world.turn(crash_at=chance.randrange(0, 5) if chance.random() < 0.15 else None)
        if (b"client", 1) in world.replies:
            words: list[Request] = [Stop(1001), Start(1001), Restart(1001)]
            world.ask(sequence, chance.choice(words))
    for _ in range(30):
        world.happen()
        world.turn()
    world.ask(9, Kill(1001, force=seed % 2 == 0))
    run(world, crash_rate=0.1)
    hold(world)
    process = world.kernel.state.processes[1001]
    assert (process.status, process.resume) == ("killed", False)
    numbers = [incarnation for incarnation, _, _ in lives(world)]
    assert numbers == list(range(1, process.incarnation + 1)), "an incarnation has no end in the history, or two"


@pytest.mark.parametrize("seed", range(30 * CHAOS))
def test_a_stop_of_the_daemon_remembers_what_was_to_run(seed: int) -> None:
    """A service in any phase is ended with the daemon, and marked to be started by the next one."""
    world = World(70_000 + seed)
    world.command(1, [None], kind="service")
    world.command(2, [(1, 1)], kind="service", start_limit=0)
    world.command(3, [None])
    for _ in range(seed):
        world.happen()
        world.turn()
    world.stop()
    for _ in range(2000):
        world.happen()
        world.turn(crash_at=world.random.randrange(0, 5) if world.random.random() < 0.1 else None)
        if world.is_stopped:
            break
    assert world.is_stopped
    assert not world.alive()
    hold(world)
    for process in world.kernel.state.processes.values():
        assert process.resume == (process.spec.kind == "service"), process


@pytest.mark.parametrize("seed", range(60 * CHAOS))
def test_whatever_order_and_suspension_do_under_crashes_everything_ends_in_order(seed: int) -> None:
    """Three services in a chain, one of them probed, suspended and resumed at any time; the kernel is killed, and then asked to end all."""
    world = World(80_000 + seed)
    chance = world.random
    world.command(1, [None], kind="service", name="db", ready="exec", ready_command=["ask"])
    world.command(2, [(1, 1), None], kind="service", name="web", requires=["db"], start_limit=0)
    world.command(3, [None], kind="service", name="edge", after=["web"], live_command=["ask"], live_interval=0.02)
    for sequence in range(4, 10):
        for _ in range(chance.randrange(1, 15)):
            world.happen()
            world.turn(crash_at=chance.randrange(0, 5) if chance.random() < 0.15 else None)
        pid = 1001 + chance.randrange(3)
        size = chance.choice([1 << 28, 1 << 29])
        words: list[Request] = [Suspend(pid), Resume(pid), Restart(pid), Stop(pid), Start(pid), ChangeLimits(pid, {"memory": size})]
        if all((b"client", each) in world.replies for each in (1, 2, 3)):
            world.ask(sequence, chance.choice(words))
    world.stop()
    for _ in range(3000):
        world.happen()
        world.turn(crash_at=chance.randrange(0, 5) if chance.random() < 0.1 else None)
        if world.is_stopped:
            break
    assert world.is_stopped, [(each.pid, each.status, each.desired) for each in world.kernel.state.processes.values()]
    assert not world.alive()
    hold(world)
    for process in world.kernel.state.processes.values():
        numbers = [incarnation for incarnation, _, _ in lives(world, process.pid)]
        assert len(set(numbers)) == len(numbers)
