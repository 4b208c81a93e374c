"""Whatever is killed and whenever, every thread ends once, begins at most once, and nothing is left.

DADMS_CHAOS multiplies the number of seeds of each test.
"""

import os

import pytest

from dadms_ipc import port
from dadms_ipc.requests import Events, Request, ResumeThread, SetThreadPriority, Shutdown, SteerGroup, SuspendThread, Wait, WaitThreads
from dadmsd.kernel.core import events
from tests.property.kernel.looper import NAPS
from tests.property.kernel.world import Kill, KillThread, Submission, World

CHAOS = int(os.environ.get("DADMS_CHAOS", "1"))
ENDED = {"completed", "failed", "killed"}
ENTRIES = [
    "work",
    "work",
    "polite",
    "polite",
    "slow",
    "slow",
    "stuck",
    "crash",
    "oom",
    "flaky",
    "nap",
    "nap",
    "sour",
    "wait",
    "deaf",
    "break",
    "capped",
]
ENDLESS = ("stuck", "wait", "deaf")  # by themselves


def run(world: World, *, crash_rate: float, most: int = 6000) -> None:
    """Let things happen until every process has ended; the kernel dies in a part of its turns."""
    for _ in range(most):
        if world.is_over():
            return
        world.happen()
        crash_at = world.random.randrange(0, 6) if world.random.random() < crash_rate else None
        world.turn(crash_at=crash_at)
    raise AssertionError(f"not over after {most} steps: {world.kernel.state.live_processes()}")


def let(world: World, turns: int) -> None:
    """Let things happen for so many turns, or until all is over: those who ended leave the table some day."""
    for _ in range(turns):
        if not world.is_over():
            world.happen()
            world.turn()


def meddle(world: World, *, turns: int) -> None:
    """Suspend, resume, terminate and reprioritize threads at random while things happen, kernels dying; at last nothing stands still."""
    chance = world.random
    sequence = 100
    for _ in range(turns):
        if world.is_over():
            return
        world.happen()
        world.turn(crash_at=chance.randrange(0, 6) if chance.random() < 0.08 else None)
        newest = world.kernel.state.counters.next_tid - 1
        if newest and chance.random() < 0.3:
            tid = chance.randint(1, newest)
            sequence += 1
            words: list[Request] = [
                SuspendThread(tid),
                SuspendThread(tid),
                ResumeThread(tid),
                SetThreadPriority(tid, chance.randint(-9, 9)),
            ]
            pid = chance.choice(sorted(world.plans))
            group = chance.choice(["a", "b"])
            words += [SteerGroup(pid, group, action, chance.randint(-9, 9)) for action in ("suspend", "resume", "priority")]
            words += [KillThread(tid), WaitThreads(pid, [tid], timeout=5.0), WaitThreads(pid, group=group, timeout=5.0)]
            world.ask(sequence, chance.choice(words if chance.random() < 0.9 else [SteerGroup(pid, group, "kill")]))
    for _ in range(200):
        if world.is_over():
            return
        for process in world.kernel.state.live_processes():
            for name in ("a", "b"):
                sequence += 1
                world.ask(sequence, SteerGroup(process.pid, name, "resume"))
            for tid in process.suspended:
                sequence += 1
                world.ask(sequence, ResumeThread(tid))
        let(world, 20)


def hold(world: World) -> None:
    """Hold what must be true at the end of every run."""
    state = world.kernel.state
    world.kernel.check()
    for tid, count in world.begun.items():
        assert count <= world.allowed.get(tid, 1), f"thread {tid} was begun {count} times"
    told = [info.tid for info in state.threads]
    assert sorted(told) == list(range(1, state.counters.next_tid)), f"of {state.counters.next_tid - 1} threads, these ended: {sorted(told)}"
    by_tid = {info.tid: info for info in state.threads}
    assert {tid for tid, info in by_tid.items() if info.state == "completed" and not info.repeats} == world.finished, (
        "a result was lost or made up"
    )
    ran = [(info.pid, info.key) for info in state.threads if info.state == "completed" and info.key and not info.repeats]
    assert len(ran) == len(set(ran)), "a key ran to its end twice"
    for pid, results in world.results.items():
        for tid, result in results.items():
            assert (by_tid[tid].pid, by_tid[tid].state) == (pid, result.status)
    for process in state.processes.values():
        assert process.threads_done == sum(1 for info in state.threads if info.pid == process.pid)
    assert not world.groups, f"groups are left: {world.groups}"
    zygotes = {child.name for child in state.children.values()}
    assert all(state.children[name].role == "zygote" and not state.children[name].pid for name in zygotes), f"children are left: {zygotes}"
    assert world.alive() <= zygotes, f"live and are not known: {world.alive() - zygotes}"
    assert state.ledger.memory_reserved == 0
    assert not state.pools
    assert not state.ready_pools
    assert not state.by_owner
    assert (state.slots_held, state.workers_coming) == (0, 0)
    assert {table for table, _ in world.disk} <= {"counters", "process", "child", "results", "answered", "event", "life", "kept"}
    assert all(each.payload is None for kept in state.results.values() for each in kept), "results are kept for a process that has ended"


def plans(world: World) -> list[Submission]:
    """Make a plan: some long threads, some short ones, some that break or never end."""
    chance = world.random
    plan = []
    for _ in range(chance.randrange(1, 5)):
        entry = chance.choice(ENTRIES)
        count = chance.randrange(1, 60) if entry == "work" else chance.randrange(1, 12) if entry in NAPS else chance.randrange(1, 4)
        timeout = chance.choice([0.5, 5.0]) if entry in ENDLESS else chance.choice([None, None, 0.05])
        attempts = chance.choice([2, 3, 5]) if chance.random() < 0.4 else 0
        retry = port.Retry(attempts, chance.choice(["fixed", "linear", "exponential"]), 0.01, 0.03, 0.5) if attempts else None
        plan.append(
            Submission(
                entry,
                count,
                timeout,
                cancel=chance.random() < 0.25,
                retry=retry,
                keys=chance.choice([0, 0, 0, 1, 3]),
                group=chance.choice(["", "", "a", "b"]),
                cancels=chance.random() < 0.2,
            )
        )
    return plan


@pytest.mark.parametrize("seed", range(60 * CHAOS))
def test_a_run_completes_whenever_the_kernel_is_killed(seed: int) -> None:
    """Kill the kernel at random places between commit and effects: the outcome is the same, no thread is begun twice."""
    world = World(seed)
    world.spawn(1, [Submission("work", 40), Submission("slow", 3), Submission("work", 40)])
    run(world, crash_rate=0.15)
    hold(world)
    process = world.kernel.state.processes[1001]
    assert process.status == "completed", process
    assert len(world.kernel.state.processes) == 1, "the spawn took effect more than once"
    assert len(world.finished) == 83


@pytest.mark.parametrize("seed", range(60 * CHAOS))
def test_every_thread_ends_once_whatever_else_breaks(seed: int) -> None:
    """Two or three processes, of which some have zygotes of their own; threads that break their worker or never end; workers, zygotes and kernels are killed."""
    world = World(10_000 + seed, slots=world_slots(seed), idle_timeout=0.3)
    for sequence in range(1, 3 + seed % 2):
        world.spawn(sequence, plans(world), workers=world.random.randrange(1, 4), handlers=world.random.random() < 0.5)
    world.ask(50, Wait(1001, timeout=60.0))
    world.ask(51, Events(after=3, wait=60.0))
    world.ask(52, Events(after=10_000, wait=0.5))
    world.kills_left = 4
    run(world, crash_rate=0.08)
    hold(world)
    assert {sequence for _, sequence in world.replies} >= {50, 51}
    assert {process.status for process in world.kernel.state.processes.values()} <= ENDED


@pytest.mark.parametrize("seed", range(60 * CHAOS))
def test_whatever_is_asked_for_threads_each_ends_once(seed: int) -> None:
    """Suspended, resumed, given another priority, terminated, tried again: none is lost, none begun more often than it may be."""
    # what is suspended stands still until nothing else is to be done, and that may be for longer than ended processes stay in the table
    world = World(70_000 + seed, slots=world_slots(seed), idle_timeout=0.3, retention=1e6)
    for sequence in range(1, 3):
        world.spawn(sequence, plans(world), workers=world.random.randrange(1, 4))
    world.kills_left = 3
    meddle(world, turns=250)
    run(world, crash_rate=0.05)
    hold(world)


@pytest.mark.parametrize("seed", range(40 * CHAOS))
def test_keyed_threads_complete_once_however_often_their_process_is_restarted(seed: int) -> None:
    """Each incarnation submits everything again; what was done is not done again, and the last one has every result."""
    world = World(80_000 + seed, slots=world_slots(seed))
    world.spawn(1, [Submission("work", 25, keys=25), Submission("slow", 8, keys=4), Submission("work", 5, keys=5)], restart="on-failure")
    chance = world.random
    for _ in range(chance.randrange(4)):
        for _ in range(chance.randrange(20, 80)):
            world.happen()
            world.turn(crash_at=chance.randrange(0, 6) if chance.random() < 0.1 else None)
        for name in [name for name in world.mains if name in world.alive()]:
            world.end(name, 2, 9)
    run(world, crash_rate=0.08)
    hold(world)
    process = world.kernel.state.processes[1001]
    assert process.status == "completed", process
    assert [result.status for result in world.results[1001].values()] == ["completed"] * 38
    ran = sorted(info.key for info in world.kernel.state.threads if info.state == "completed" and not info.repeats)
    assert ran == sorted([f"work {number}" for number in range(25)] + [f"slow {number}" for number in range(4)])


def world_slots(seed: int) -> int:
    """Give few slots to some runs, so that processes wait for each other."""
    return (1, 2, 8)[seed % 3]


@pytest.mark.parametrize("seed", range(40 * CHAOS))
def test_workers_and_zygotes_that_are_killed_cost_their_threads_alone(seed: int) -> None:
    """A thread that was begun ends in error, one that was not runs elsewhere; the process completes."""
    world = World(20_000 + seed)
    world.spawn(1, [Submission("work", 30), Submission("slow", 6)], workers=3, handlers=seed % 2 == 0)
    let(world, 60)
    world.kills_left = 3
    run(world, crash_rate=0.1)
    hold(world)
    process = world.kernel.state.processes[1001]
    assert process.status == "completed", process
    assert process.threads_failed <= 3


@pytest.mark.parametrize("seed", range(40 * CHAOS))
def test_a_kill_ends_the_process_whenever_it_comes(seed: int) -> None:
    """A kill at any time, with kernel crashes around it, ends in exactly one status and gives everything back."""
    world = World(30_000 + seed)
    world.spawn(1, plans(world), handlers=seed % 3 == 0)
    let(world, seed % 40 * 3)
    world.ask(2, Kill(1001, force=seed % 2 == 0))
    run(world, crash_rate=0.1)
    hold(world)
    assert world.kernel.state.processes[1001].status in ("killed", "completed")
    assert world.replies[(b"client", 1)][1] == {"pid": 1001}


@pytest.mark.parametrize("seed", range(40 * CHAOS))
def test_a_killed_thread_costs_one_thread_at_most(seed: int) -> None:
    """Terminating one thread leaves every other to complete, when threads travel alone."""
    world = World(40_000 + seed)
    world.spawn(1, [Submission("slow", 6)])
    let(world, 10 + seed % 30)
    victim = world.random.randrange(1, 7)
    world.ask(2, KillThread(victim))
    run(world, crash_rate=0.05)
    hold(world)
    assert world.kernel.state.processes[1001].status == "completed"
    assert {info.tid for info in world.kernel.state.threads if info.state != "completed"} <= {victim}


@pytest.mark.parametrize("seed", range(30 * CHAOS))
def test_a_stop_of_the_daemon_leaves_nothing(seed: int) -> None:
    """Asked to stop with processes in every phase, the kernel ends them all and says so, however often it is killed meanwhile."""
    world = World(50_000 + seed)
    for sequence in range(1, 4):
        world.spawn(sequence, plans(world), handlers=sequence == 2)
        let(world, seed % 30)
    world.ask(9, Shutdown())
    world.stop()
    world.kills_left = 2
    for _ in range(3000):
        world.happen()
        world.turn(crash_at=world.random.randrange(0, 6) if world.random.random() < 0.1 else None)
        if world.is_stopped:
            break
    assert world.is_stopped
    assert not world.alive()
    hold(world)


def test_a_child_that_dies_with_its_zygote_before_anybody_knew_it_is_missed() -> None:
    """Its pid comes from the keeper before its name comes from the zygote: the pid is a stranger's then, and a later look finds that the child is gone."""
    world = World(None)
    world.spawn(1, [Submission("slow", 1)], handlers=True)
    while "1001.1/w1" not in world.kernel.state.children:
        world.happen()
        world.turn()
    world.end("zygote/2", 2, 9)
    world.end("1001.1/w1", 2, 9)
    late = world.channels.pop("zygote/2")
    assert [type(event) for event in late] == [events.Forked]
    exits = world.channels.pop("zygote/1")
    world.turn()
    world.channels.update({"zygote/2": late, "zygote/1": exits})
    run(world, crash_rate=0.0)
    hold(world)
    assert world.kernel.state.processes[1001].status == "completed"
