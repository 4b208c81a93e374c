"""Shared context under every order of operations, ends and deaths of the kernel, against a model of a few lines."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dadms_ipc import context
from dadms_ipc.context import AnyOperation, Cas, Delete, Get, Guard, Increment, Lock, Set, Unlock, Update, Watch
from dadms_ipc.port import ContextAnswer, ContextCall
from dadms_ipc.requests import ChangeContext, ReadContext
from dadmsd.kernel.core import context as space
from dadmsd.kernel.core import effects, events
from tests.unit.kernel.driver import Driver, only

WORKERS = ["1001.1/w1", "1001.1/w2", "1001.1/w3"]
NAMES = st.sampled_from(["a", "b"])
VALUES = st.one_of(st.integers(-5, 5), st.just("text"), st.dictionaries(st.sampled_from("xy"), st.integers(0, 3), max_size=2))

STEPS = st.one_of(
    st.tuples(st.just("set"), st.integers(0, 2), NAMES, NAMES, VALUES),
    st.tuples(st.just("cas"), st.integers(0, 2), NAMES, NAMES, VALUES, st.booleans()),
    st.tuples(st.just("update"), st.integers(0, 2), NAMES, NAMES, VALUES),
    st.tuples(st.just("increment"), st.integers(0, 2), NAMES, NAMES, st.integers(-3, 3)),
    st.tuples(st.just("delete"), st.integers(0, 2), NAMES, st.one_of(NAMES, st.none())),
    st.tuples(st.just("lock"), st.integers(0, 2), NAMES),
    st.tuples(st.just("unlock"), st.integers(0, 2), NAMES),
    st.tuples(st.just("guarded"), st.integers(0, 2), NAMES, st.integers(0, 3)),
    st.tuples(st.just("lock"), st.integers(0, 2), st.just("a")),
    st.tuples(st.just("guarded"), st.integers(0, 2), st.just("a"), st.integers(0, 2)),
    st.tuples(st.just("break"), st.just("a")),
    st.tuples(st.just("watch"), st.integers(0, 2), NAMES, NAMES),
    st.tuples(st.just("repeat"), st.integers(0, 2)),
    st.tuples(st.just("kill"), st.integers(0, 2)),
    st.tuples(st.just("crash"), st.booleans()),
    st.tuples(st.just("wait"), st.floats(0.1, 5.0)),
)


class Threads:
    """Three workers with a thread each, what they asked, and what a model says about it."""

    def __init__(self) -> None:
        self.driver = Driver()
        self.driver.run(workers=3)
        self.driver.submit(1001, 3)
        for number, name in enumerate(WORKERS):
            self.driver.worker(name, 201 + number)
        self.dead: set[int] = set()
        self.sequences = [0, 0, 0]
        self.waiting: list[ContextCall | None] = [None, None, None]
        self.had: list[list[tuple[ContextCall, ContextAnswer]]] = [[], [], []]  # the newest last
        self.cells: dict[tuple[str, str], tuple[int, Any]] = {}
        self.highest = 0
        self.holders: dict[str, tuple[int, int]] = {}  # lock -> worker, token
        self.tokens: list[dict[str, int]] = [{}, {}, {}]  # the last that each got

    def can_ask(self, number: int) -> bool:
        return number not in self.dead and self.waiting[number] is None

    def ask(self, number: int, operation: AnyOperation) -> tuple[str, Any] | None:
        """Have a thread ask, twice sometimes seen by the kernel as a repetition; gives status and answer, None while it waits."""
        self.sequences[number] += 1
        tid = self.driver.flying(WORKERS[number])[0]
        call = ContextCall(self.sequences[number], self.sequences[number] - 1, operation, tid)
        self.waiting[number] = call
        self.hear(self.driver.give(events.ContextCalled(WORKERS[number], call)))
        return self.answers.get(number)

    def hear(self, done: list[effects.AnyEffect]) -> None:
        """Take the answers in; those of locks that came late move the model."""
        self.answers: dict[int, tuple[str, Any]] = {}
        for effect in only(done, effects.AnswerCall):
            number = WORKERS.index(effect.name)
            self._take(number, effect.message)

    def _take(self, number: int, answer: ContextAnswer) -> None:
        call = self.waiting[number]
        if call is None or call.sequence != answer.sequence or number in self.dead:
            return
        self.waiting[number] = None
        self.had[number].append((call, answer))
        operation = call.operation
        value: Any = msgspec.msgpack.decode(answer.body)
        if answer.status == "ok":
            value = msgspec.msgpack.decode(answer.body, type=context.answer_type(operation))  # type: ignore[arg-type]  # no room is asked for here
        self.answers[number] = (answer.status, value)
        if isinstance(operation, Lock) and answer.status == "ok":
            assert operation.lock not in self.holders, f"{operation.lock} has two holders"
            assert value.token > self.highest, "a token that is not above all numbers before"
            self.highest = value.token
            self.holders[operation.lock] = (number, value.token)
            self.tokens[number][operation.lock] = value.token

    def write(self, key: tuple[str, str], value: Any, version: int) -> None:
        assert version > self.highest, f"version {version} after {self.highest}"
        self.highest = version
        self.cells[key] = (version, value)

    def check(self) -> None:
        """Hold that nobody waits for what has come."""
        for number, call in enumerate(self.waiting):
            if call is not None and number not in self.dead and isinstance(call.operation, Watch):
                version, _ = self.cells.get((call.operation.region, call.operation.key or ""), (0, None))
                assert version == call.operation.after, f"{WORKERS[number]} waits for a version that is there"
            elif call is not None and number not in self.dead and isinstance(call.operation, Lock):
                assert call.operation.lock in self.holders, f"{WORKERS[number]} waits for a lock that is free"

    def repeat(self, number: int) -> None:
        """Say again what was answered: the newest change gets its answer again, anything older none."""
        for place, (call, answer) in enumerate(reversed(self.had[number])):
            done = only(self.driver.give(events.ContextCalled(WORKERS[number], call)), effects.AnswerCall)
            is_newest = place == 0 and self.waiting[number] is None
            if is_newest and not isinstance(call.operation, context.READS):
                assert [effect.message for effect in done] == [answer]
            elif any(
                not isinstance(later.operation, context.READS) and said.status == "ok"
                for later, said in self.had[number][len(self.had[number]) - place :]
            ):
                assert not done, "it was had, as a later call said"

    def free(self, number: int) -> None:
        self.holders = {lock: holder for lock, holder in self.holders.items() if holder[0] != number}


def number_of(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def take_step(threads: Threads, step: tuple[Any, ...]) -> None:
    kind, *rest = step
    if kind == "crash":
        threads.driver.next_kernel()
        threads.had = [[(call, answer) for call, answer in each if answer.status == "ok"] for each in threads.had]  # refusals are no rows
        if rest[0]:  # the ones that wait ask again, and so do those whose answer was had already
            for number, call in enumerate(threads.waiting):
                if call is not None and number not in threads.dead:
                    threads.hear(threads.driver.give(events.ContextCalled(WORKERS[number], call)))
        else:
            for number in range(3):
                threads.waiting[number] = None  # gave up; the kernel knows nothing of it
        return
    if kind == "wait":
        threads.hear(threads.driver.give(after=rest[0]))
        return
    if kind == "break":
        held = threads.holders.pop(rest[0], None)
        done = threads.driver.give(events.RequestArrived(b"b", threads.driver.sequence + 10_000, 0, "admin", "uid 0", breaking(rest[0])))
        threads.driver.sequence += 1
        threads.hear(done)
        assert only(done, effects.Reply)[0].answer.applied == (held is not None)  # type: ignore[attr-defined]  # a Changed
        return
    number = rest[0]
    if kind == "repeat":
        if number not in threads.dead:
            threads.repeat(number)
        return
    if kind == "kill":
        if number not in threads.dead:
            threads.dead.add(number)
            threads.free(number)
            threads.hear(threads.driver.give(events.Exited(WORKERS[number], 2, 9, begun=1)))
        return
    if threads.can_ask(number):
        OPERATIONS[kind](threads, *rest)


def on_write(operation: Any, threads: Threads, number: int) -> tuple[str, Any]:
    answer = threads.ask(number, operation)
    assert answer is not None, "a change does not wait"
    return answer


def do_set(threads: Threads, number: int, region: str, key: str, value: Any) -> None:
    status, changed = on_write(Set(region, key, raw(value)), threads, number)
    assert status == "ok"
    threads.write((region, key), value, changed.version)


def do_cas(threads: Threads, number: int, region: str, key: str, value: Any, is_right: bool) -> None:
    version, there = threads.cells.get((region, key), (0, None))
    expected = version if is_right else threads.highest + 1
    status, changed = on_write(Cas(region, key, raw(value), expected), threads, number)
    assert status == "ok"
    assert changed.applied == is_right
    if is_right:
        threads.write((region, key), value, changed.version)
    else:
        assert (changed.version, changed.value) == (version, there)


def do_update(threads: Threads, number: int, region: str, key: str, value: Any) -> None:
    _, there = threads.cells.get((region, key), (0, {}))
    status, changed = on_write(Update(region, key, raw(value)), threads, number)
    assert (status == "ok") == (isinstance(there, dict) and isinstance(value, dict))
    if status == "ok":
        threads.write((region, key), there | value, changed.version)


def do_increment(threads: Threads, number: int, region: str, key: str, by: int) -> None:
    _, there = threads.cells.get((region, key), (0, 0))
    status, changed = on_write(Increment(region, key, by), threads, number)
    assert (status == "ok") == number_of(there)
    if status == "ok":
        assert changed.value == there + by
        threads.write((region, key), there + by, changed.version)


def do_delete(threads: Threads, number: int, region: str, key: str | None) -> None:
    status, changed = on_write(Delete(region, key), threads, number)
    if key is not None:
        assert (status, changed.applied) == ("ok", (region, key) in threads.cells)
        threads.cells.pop((region, key), None)
    elif status == "ok" and changed.applied:
        assert region != "a" or not threads.holders, "a region went whose locks are held"
        threads.cells = {place: cell for place, cell in threads.cells.items() if place[0] != region}


def do_lock(threads: Threads, number: int, lock: str) -> None:
    held = threads.holders.get(lock)
    answer = threads.ask(number, Lock("a", lock, 3.0))
    assert (answer is None) == (held is not None and held[0] != number)
    assert answer is None or answer[0] == ("refused" if held is not None else "ok")


def do_unlock(threads: Threads, number: int, lock: str) -> None:
    token = threads.tokens[number].get(lock, 0)
    is_held = threads.holders.get(lock) == (number, token)
    if is_held:
        del threads.holders[lock]  # before the next one hears of it
    status, changed = on_write(Unlock("a", lock, token), threads, number)
    assert (status, changed.applied) == ("ok", is_held)


def do_guarded(threads: Threads, number: int, lock: str, whose: int) -> None:
    token = threads.tokens[whose].get(lock, 0) if whose < 3 else 0
    is_held = threads.holders.get(lock, (0, -1))[1] == token
    status, changed = on_write(Set("a", "guarded", raw(1), Guard(lock, token)), threads, number)
    assert (status == "ok") == is_held
    if is_held:
        threads.write(("a", "guarded"), 1, changed.version)


def do_watch(threads: Threads, number: int, region: str, key: str) -> None:
    version, _ = threads.cells.get((region, key), (0, None))
    assert threads.ask(number, Watch(region, key, version, 2.0)) is None


OPERATIONS: dict[str, Callable[..., None]] = {
    "set": do_set,
    "cas": do_cas,
    "update": do_update,
    "increment": do_increment,
    "delete": do_delete,
    "lock": do_lock,
    "unlock": do_unlock,
    "guarded": do_guarded,
    "watch": do_watch,
}


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(value))


@settings(max_examples=150, phases=[Phase.generate, Phase.shrink])
@given(st.lists(STEPS, min_size=15, max_size=60))
def test_every_order_of_operations_ends_and_deaths_is_what_the_model_says(steps: list[tuple[Any, ...]]) -> None:
    """The invariants of the kernel are checked after each step; in the end every value is read."""
    threads = Threads()
    for step in steps:
        take_step(threads, step)
        threads.check()
    for (region, key), (version, value) in threads.cells.items():
        asked = threads.driver.answer(reading(Get(region, key)))
        assert (asked.version, msgspec.msgpack.decode(asked.value)) == (version, value)
    held = {lock: token for lock, (_, token) in threads.holders.items()}
    known = threads.driver.state.contexts.spaces.get(1001)
    assert {lock.name: lock.token for lock in (known.locks.get("a", {}).values() if known else ())} == held


def breaking(lock: str) -> ChangeContext:
    return ChangeContext(1001, context.Break("a", lock))


def reading(operation: Get) -> Any:
    return ReadContext(1001, operation)


@pytest.mark.parametrize("name", ["KEYS_MOST", "REGIONS_MOST"])
@given(st.lists(st.tuples(NAMES, st.text("abc", min_size=1, max_size=2)), max_size=20))
@settings(max_examples=25)
def test_bounds_hold_whatever_is_put_and_removed(name: str, puts: list[tuple[str, str]]) -> None:
    """Never above; and as much as was below is taken."""
    driver = Driver()
    driver.run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(space, name, 2)
        for region, key in puts:
            place = ("r", key) if name == "KEYS_MOST" else (key, "k")
            known = driver.state.contexts.spaces.get(1001)
            there = {(cell.region, cell.key) for cells in known.cells.values() for cell in cells.values()} if known else set()
            regions = set(known.regions) if known else set()
            fits = place in there or len(there) < 2 if name == "KEYS_MOST" else place[0] in regions or len(regions) < 2
            reply = driver.ask(ChangeContext(1001, Set(*place, raw(1))))
            assert reply is not None
            assert (reply.status == "ok") == fits
            if region == "a":
                driver.ask(ChangeContext(1001, Delete(*place)))
