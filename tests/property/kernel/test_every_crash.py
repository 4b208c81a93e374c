"""A small system, and every place at which its kernel can be killed once: the outcome is the one that it has when nobody is killed.

One process, two threads, one worker, no chance: what differs between two runs is the crash alone. It comes before the commit of a turn, before each of its effects,
or after the last; and, for the first scenario, again before each act of the adoption that follows.
"""

from collections.abc import Callable

import pytest

from dadms_ipc.port import Retry
from tests.property.kernel.test_crashes import CHAOS, hold
from tests.property.kernel.world import Kill, KillThread, Submission, World

MOST = 400  # turns
Deed = Callable[[World], None]

TWO = [Submission("slow", 2)]
SCENARIOS: dict[str, tuple[list[Submission], bool]] = {  # plan, has handlers
    "two threads": (TWO, False),
    "two submissions": ([Submission("work", 1), Submission("work", 1)], False),
    "a zygote of its own": (TWO, True),
    "a thread that ends its worker": ([Submission("crash", 1), Submission("slow", 1)], False),
    "a thread that never ends": ([Submission("stuck", 1, 0.5), Submission("slow", 1)], False),
    "a thread that is tried again": ([Submission("flaky", 1, retry=Retry(3, "fixed", 0.05)), Submission("slow", 1)], False),
    "a worker that is lost for every attempt": ([Submission("crash", 1, retry=Retry(2, "fixed", 0.05)), Submission("slow", 1)], False),
    "async threads": ([Submission("nap", 2)], False),
    "async and plain threads, and some with a limit": ([Submission("nap", 1), Submission("capped", 1), Submission("work", 1)], False),
    "async threads whose worker ends": ([Submission("break", 1), Submission("nap", 1)], False),
    "async threads that are cancelled": ([Submission("wait", 2, 0.5)], False),
    "an async thread that does not end": ([Submission("deaf", 1, 0.5), Submission("nap", 1)], False),
    "an async thread that is tried again": ([Submission("sour", 2, retry=Retry(2, "fixed", 0.01))], False),
    "threads with one key": ([Submission("slow", 2, keys=1), Submission("slow", 2, keys=1)], False),
    "a group that a failure cancels": (
        [Submission("crash", 1, group="g", cancels=True), Submission("slow", 2, group="g", cancels=True)],
        False,
    ),
    "threads that give way": ([Submission("polite", 2), Submission("slow", 1)], False),
    "a thread that is given up": ([Submission("stuck", 2, cancel=True, timeout=0.5)], False),
}
DEEDS: dict[str, Deed] = {
    "its worker is killed": lambda world: world.end("1001.1/w1", 2, 9),
    "its zygote is killed": lambda world: world.end("zygote/1", 2, 9),
    "its main is killed": lambda world: world.end("1001.1", 2, 9),
    "a client kills it": lambda world: world.ask(2, Kill(1001)),
    "a client kills it by force": lambda world: world.ask(2, Kill(1001, force=True)),
    "a client kills a thread": lambda world: world.ask(2, KillThread(1)),
    "the daemon is stopped": lambda world: world.stop(),
}

Place = tuple[int, int, int | None]  # turn, act, act of the adoption


def play(
    plan: list[Submission], *, handlers: bool = False, crash: Place | None = None, deed: Deed | None = None, when: int = 0
) -> tuple[World, list[int]]:
    """Run a process to its end; gives the world, and the number of acts of each turn."""
    world = World(None)
    world.spawn(1, list(plan), workers=1, handlers=handlers)
    acts: list[int] = []
    while not world.is_over():
        assert len(acts) < MOST, f"not over after {MOST} turns: {world.kernel.state.live_processes()}"
        if deed is not None and len(acts) == when:
            deed(world)
        world.happen()
        is_here = crash is not None and crash[0] == len(acts)
        if crash is not None and is_here:
            world.adoption_dies_at = crash[2]
        acts.append(world.turn(crash_at=crash[1] if crash is not None and is_here else None))
    hold(world)
    return world, acts


def outcome(world: World) -> object:
    """Give what people and the process see of a run."""
    (process,) = world.kernel.state.processes.values()
    threads = {info.tid: (info.state, info.cause, info.attempts) for info in world.kernel.state.threads}
    return process.status, process.cause, process.outcome, threads


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_crash_anywhere_changes_nothing(name: str) -> None:
    """Every turn and every act of it."""
    plan, handlers = SCENARIOS[name]
    undisturbed, acts = play(plan, handlers=handlers)
    assert outcome(undisturbed)[0] == "completed"  # type: ignore[index]  # a tuple
    for turn, count in enumerate(acts):
        for act in range(count + 2):
            world, _ = play(plan, handlers=handlers, crash=(turn, act, None))
            assert world.crashes == 1
            assert outcome(world) == outcome(undisturbed), f"turn {turn}, act {act}"


def test_a_second_crash_while_the_first_is_mended_changes_nothing() -> None:
    """The next kernel dies between any two acts of its adoption."""
    undisturbed, acts = play(TWO)
    deaths = 0
    for turn, count in enumerate(acts):
        for act in (0, 1, count + 1):
            for again in range(5):
                world, _ = play(TWO, crash=(turn, act, again))
                deaths = max(deaths, world.crashes)
                assert outcome(world) == outcome(undisturbed), f"turn {turn}, act {act}, act {again} of the adoption"
    assert deaths == 2


@pytest.mark.parametrize("name", DEEDS)
def test_whatever_is_done_at_whatever_turn_ends_well(name: str) -> None:
    """At each turn of a run, with no crash and with one in that turn or the next: nothing is left, and no thread is lost or begun twice."""
    _, acts = play(TWO, handlers=True)
    crashes = [(later, act) for later in range(1 + CHAOS) for act in range(4 * CHAOS)]
    for when in range(len(acts)):
        for crash in (None, *((when + later, act, None) for later, act in crashes)):
            world, _ = play(TWO, handlers=True, crash=crash, deed=DEEDS[name], when=when)
            (process,) = world.kernel.state.processes.values()
            assert process.status in ("completed", "failed", "killed")
            assert process.status == "completed" or "worker" not in name
