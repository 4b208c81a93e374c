"""Whatever is killed and whenever, every thread ends once, begins at most once, and nothing is left."""

import pytest

from dadms_ipc.requests import Shutdown
from dadmsd.kernel.core import events
from tests.property.kernel.world import Kill, KillThread, World


def _run(world: World, *, crash_rate: float, may_kill: bool, most: int = 4000) -> None:
    for _ in range(most):
        if world.is_over():
            return
        world.happen(may_kill=may_kill)
        crash_at = world.random.randrange(0, 6) if world.random.random() < crash_rate else None
        world.turn(crash_at=crash_at)
    raise AssertionError(f"not over after {most} steps: {world.kernel.state.live_processes()}")


def _hold(world: World) -> None:
    """Hold what must be true at the end of every run."""
    world.kernel.check()
    assert all(count == 1 for count in world.begun.values()), f"begun twice: {world.begun}"
    assert not world.groups, "a group is left"
    assert not [child for child in world.kernel.state.children.values() if child.role != "zygote"], "a child is left"
    assert world.kernel.state.ledger.memory_reserved == 0


@pytest.mark.parametrize("seed", range(60))
def test_a_run_completes_whenever_the_kernel_is_killed(seed: int) -> None:
    """Kill the kernel at random places between commit and effects: the outcome is the same, no thread is begun twice."""
    world = World(seed, wanted=7, workers=2)
    world.spawn(1)
    _run(world, crash_rate=0.15, may_kill=False)
    _hold(world)
    process = next(iter(world.kernel.state.processes.values()))
    assert process.status == "completed", process
    assert len(world.kernel.state.processes) == 1, "the spawn took effect more than once"
    assert len(world.begun) == 7


@pytest.mark.parametrize("seed", range(40))
def test_every_thread_ends_once_when_workers_are_killed_as_well(seed: int) -> None:
    """Kill workers and the kernel: a thread that was begun ends in error, one that was not runs elsewhere, each exactly once."""
    world = World(1000 + seed, wanted=9, workers=3)
    world.spawn(1)
    _run(world, crash_rate=0.1, may_kill=True)
    _hold(world)
    process = next(iter(world.kernel.state.processes.values()))
    assert process.status == "completed"
    assert process.threads_done == 9


@pytest.mark.parametrize("seed", range(30))
def test_a_kill_ends_the_process_whenever_it_comes(seed: int) -> None:
    """A kill at any time, with kernel crashes around it, ends in exactly one status and gives everything back."""
    world = World(2000 + seed, wanted=12, workers=2)
    world.spawn(1)
    for _ in range(seed * 3):
        world.happen(may_kill=False)
        world.turn()
    if not world.is_over():
        world.ask(2, Kill(1001, force=seed % 2 == 0))
    _run(world, crash_rate=0.1, may_kill=False)
    _hold(world)
    process = world.kernel.state.processes[1001]
    assert process.status in ("killed", "completed")
    assert world.replies[(b"client", 1)][1] == {"pid": 1001}


@pytest.mark.parametrize("seed", range(20))
def test_a_killed_thread_touches_no_other(seed: int) -> None:
    """Terminating one thread leaves every other to complete."""
    world = World(3000 + seed, wanted=6, workers=2)
    world.spawn(1)
    for _ in range(10 + seed):
        world.happen(may_kill=False)
        world.turn()
    victim = world.random.randrange(1, 7)
    world.ask(2, KillThread(victim))
    _run(world, crash_rate=0.05, may_kill=False)
    _hold(world)
    assert world.kernel.state.processes[1001].status == "completed"
    assert world.kernel.state.processes[1001].threads_failed <= 1


@pytest.mark.parametrize("seed", range(10))
def test_a_stop_of_the_daemon_leaves_nothing(seed: int) -> None:
    """Asked to stop with processes in every phase, the kernel ends them all and says so."""
    world = World(4000 + seed, wanted=20, workers=2)
    for sequence in range(1, 4):
        world.spawn(sequence)
        for _ in range(seed):
            world.happen(may_kill=False)
            world.turn()
    world.ask(9, Shutdown())
    world.inbox.append(events.StopAsked("SIGTERM"))
    for _ in range(500):
        world.happen(may_kill=False)
        world.turn()
        if world.is_stopped:
            break
    assert world.is_stopped
    assert not world._alive()
    _hold(world)
