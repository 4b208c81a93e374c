"""Shared context through the kernel's door: values, rights, bounds, locks, waiting, and what a new kernel knows of it."""

from typing import Any

import msgspec
import pytest

from dadms_ipc import context, requests
from dadms_ipc.context import Break, Cas, Cell, Delete, Get, Guard, Increment, Lock, Regions, Set, Share, Unlock, Update, Watch
from dadms_ipc.port import ContextCall
from dadmsd.kernel.core import context as space
from dadmsd.kernel.core import effects, events, sharing
from tests.unit.kernel.driver import Driver, only

W1, W2 = "1001.1/w1", "1001.1/w2"


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(value))


class Shared:
    """A kernel with a process whose two workers each run a thread: 1 in w1, 2 in w2."""

    def __init__(self, **changes: Any) -> None:
        self.driver = Driver(**changes)
        self.pid = self.driver.run(workers=2)
        self.driver.submit(self.pid, 2)
        self.driver.worker(W1, 201)
        self.driver.worker(W2, 202)
        assert self.driver.flying(W1) == [1]
        assert self.driver.flying(W2) == [2]
        self.sequences: dict[str, int] = {}

    def call(self, name: str, operation: context.AnyOperation, *, tid: int | None = None, pid: int = 0, **fields: Any) -> ContextCall:
        self.sequences[name] = fields.pop("sequence", self.sequences.get(name, 0) + 1)
        thread = {W1: 1, W2: 2}.get(name, 0) if tid is None else tid
        return ContextCall(self.sequences[name], fields.pop("seen", self.sequences[name] - 1), operation, thread, pid)

    def ask(self, name: str, operation: context.AnyOperation, **fields: Any) -> tuple[str, Any] | None:
        """Have a thread or the main ask; gives the status and the answer, None while it waits."""
        return answer_to(name, operation, self.driver.give(events.ContextCalled(name, self.call(name, operation, **fields))))

    def get(self, name: str, operation: context.AnyOperation, **fields: Any) -> Any:
        answer = self.ask(name, operation, **fields)
        assert answer is not None, "it waits"
        assert answer[0] == "ok", answer
        return answer[1]

    def refusal(self, name: str, operation: context.AnyOperation, **fields: Any) -> str:
        answer = self.ask(name, operation, **fields)
        assert answer is not None, "it waits"
        assert answer[0] == "refused", answer
        return str(answer[1]["message"])


def answer_to(name: str, operation: context.AnyOperation, done: list[effects.AnyEffect]) -> tuple[str, Any] | None:
    """Give the answer that one child got."""
    answers = [effect.message for effect in only(done, effects.AnswerCall) if effect.name == name]
    assert len(answers) <= 1, answers
    for answer in answers:
        if answer.status == "ok":
            return "ok", msgspec.msgpack.decode(answer.body, type=context.answer_type(operation))
        return answer.status, msgspec.msgpack.decode(answer.body)
    return None


# values


def test_a_value_has_the_version_of_its_last_change() -> None:
    """Versions are numbers of the whole context: they grow, and never come again."""
    shared = Shared()
    assert shared.get(W1, Get("r", "a")) == Cell(0, None)
    assert shared.get(W1, Set("r", "a", raw([1, 2]))).version == 1
    assert shared.get(W2, Set("r", "b", raw("x"))).version == 2
    assert shared.get(W2, Get("r", "a")) == Cell(1, [1, 2])
    assert shared.get(W1, Delete("r", "a")).applied
    assert shared.get(W1, Get("r", "a")) == Cell(0, None)
    assert shared.get(W1, Set("r", "a", raw(None))).version == 4
    view = shared.get("1001.1", Get("r"))
    assert (view.version, view.cells, view.keys) == (4, {"b": Cell(2, "x"), "a": Cell(4, None)}, 2)


def test_update_merges_and_keeps_what_it_does_not_name() -> None:
    shared = Shared()
    shared.get(W1, Update("r", "m", raw({"a": 1, "b": {"deep": [1]}})))
    shared.get(W2, Update("r", "m", raw({"a": 2, "c": None})))
    assert shared.get(W1, Get("r", "m")) == Cell(2, {"a": 2, "b": {"deep": [1]}, "c": None})
    shared.get(W1, Set("r", "n", raw(1)))
    assert "what is there is no map" in shared.refusal(W1, Update("r", "n", raw({"a": 1})))
    assert "only a map with texts for keys" in shared.refusal(W1, Update("r", "m", raw([1])))
    assert "only a map with texts for keys" in shared.refusal(W1, Update("r", "m", raw({1: 1})))


def test_compare_and_swap_is_applied_at_the_expected_version_only() -> None:
    shared = Shared()
    assert shared.get(W1, Cas("r", "a", raw(1), 0)) == context.Changed(1)
    assert shared.get(W2, Cas("r", "a", raw(2), 0)) == context.Changed(1, False, 1)
    assert shared.get(W2, Cas("r", "a", raw(2), 1)) == context.Changed(2)
    assert shared.get(W2, Cas("r", "gone", raw(2), 1)) == context.Changed(0, False, None)


def test_a_value_that_went_and_came_back_is_another_one() -> None:
    """Also when its region went with it, and the kernel in between."""
    shared = Shared()
    version = shared.get(W1, Set("r", "a", raw(1))).version
    shared.get("1001.1", Delete("r"))
    shared.driver.next_kernel()
    shared.get(W1, Set("r", "a", raw(1)))
    assert not shared.get(W1, Cas("r", "a", raw(2), version)).applied


def test_increment_counts_and_refuses_what_is_no_number() -> None:
    shared = Shared()
    assert shared.get(W1, Increment("r", "n")).value == 1
    assert shared.get(W2, Increment("r", "n", 41)).value == 42
    assert shared.get(W2, Increment("r", "n", 0.5)).value == 42.5
    assert "42.5 + inf is no finite number" in shared.refusal(W1, Increment("r", "n", float("inf")))
    shared.get(W1, Set("r", "n", raw(2**64 - 1)))
    assert "65 bits, at most 64" in shared.refusal(W1, Increment("r", "n"))
    shared.get(W1, Set("r", "t", raw("text")))
    assert "what is there is no number" in shared.refusal(W1, Increment("r", "t"))
    shared.get(W1, Set("r", "t", raw(True)))
    assert "what is there is no number" in shared.refusal(W1, Increment("r", "t"))


def test_deleting_what_is_not_there_says_so() -> None:
    shared = Shared()
    assert not shared.get(W1, Delete("r", "a")).applied
    assert not shared.get("1001.1", Delete("r")).applied
    shared.get(W1, Set("r", "b", raw(1)))
    assert not shared.get(W1, Delete("r", "a")).applied


# rights


def test_a_region_belongs_to_who_made_it_and_is_open_to_the_process() -> None:
    shared = Shared()
    shared.get(W1, Set("r", "a", raw(1)))
    (info,) = shared.get(W2, Regions())
    assert info == context.RegionInfo("r", "1001/1", ["*"], ["*"], 1, 1, 2, {})


def test_readers_and_writers_are_held_to_their_lists() -> None:
    shared = Shared()
    shared.get(W1, Set("r", "a", raw(1)))
    shared.get(W1, Share("r", readers=["1001/2"], writers=[]))
    assert shared.get(W2, Get("r", "a")).value == 1
    assert 'cannot write region "r" of 1001: its writers are nobody else, not 1001/2' in shared.refusal(W2, Set("r", "a", raw(2)))
    assert "cannot share region" in shared.refusal(W2, Share("r", writers=["*"]))
    assert "cannot delete region" in shared.refusal(W2, Delete("r"))
    assert "cannot break a lock of region" in shared.refusal(W2, Break("r", "l"))
    shared.get(W1, Share("r", readers=[]))
    assert "its readers are nobody else, not 1001/2" in shared.refusal(W2, Get("r", "a"))
    assert shared.get(W2, Regions()) == []
    assert shared.get("1001.1", Get("r", "a")).value == 1  # the main may everything
    shared.get("1001.1", Share("r", writers=["main"]))
    assert "its writers are main" in shared.refusal(W2, Delete("r", "a"))
    assert shared.get(W1, Delete("r", "a")).applied  # the owner's


@pytest.mark.parametrize("listed", [["1001/"], ["everybody"], ["*", ""], ["1001/1/2"]])
def test_a_list_names_what_there_can_be(listed: list[str]) -> None:
    assert '"*", "main", "PID" or "PID/TID"' in Shared().refusal(W1, Share("r", readers=listed))


def test_another_process_uses_what_names_it() -> None:
    shared = Shared()
    driver = shared.driver
    other = driver.spawn()
    driver.open("1002.1", 300)
    driver.give(events.MainReady("1002.1", ["work"], []))
    main = "1002.1"
    assert "may not, or there is none" in shared.refusal(main, Get("r", "a"), pid=1001)
    assert "may not, or there is none" in shared.refusal(main, Set("r", "a", raw(1)), pid=1001)
    assert "may not, or there is none" in shared.refusal(main, Share("r", readers=["1002"]), pid=1001)
    shared.get(W1, Set("r", "a", raw(1)))
    assert "its readers are *, not 1002" in shared.refusal(main, Get("r", "a"), pid=1001)
    shared.get(W1, Share("r", readers=[str(other)]))
    assert shared.get(main, Get("r", "a"), pid=1001).value == 1
    assert shared.get(main, Regions(), pid=1001)[0].name == "r"
    assert shared.get(main, Regions()) == []
    assert "no process 7" in shared.refusal(main, Regions(), pid=7)


def test_a_thread_that_has_ended_may_not_speak() -> None:
    shared = Shared()
    shared.driver.finish(W1)
    assert shared.refusal(W1, Set("r", "a", raw(1))) == "cannot set: thread 1001/1 is not running"
    assert "thread 1001/99 is not running" in shared.refusal(W1, Get("r", "a"), tid=99)


# bounds


def test_bounds_are_refused_with_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Shared()
    large = raw(b"x" * space.VALUE_BYTES)
    assert f"at most {space.VALUE_BYTES}; put it into an artifact" in shared.refusal(W1, Set("r", "a", large))
    assert "1 to 200 printable characters" in shared.refusal(W1, Set("r", "k" * 201, raw(1)))
    assert "1 to 200 printable characters" in shared.refusal(W1, Set("", "k", raw(1)))
    assert "1 to 200 printable characters" in shared.refusal(W1, Lock("r", "a\nb"))
    assert "at most 1000 are listed" in shared.refusal(W1, Share("r", readers=["*"] * 1001))
    for name, value in (("KEYS_MOST", 2), ("REGIONS_MOST", 2), ("LOCKS_MOST", 1), ("PROCESS_BYTES", 100), ("VIEW_BYTES", 40)):
        monkeypatch.setattr(space, name, value)
    shared.get(W1, Set("r", "a", raw("x" * 50)))
    assert "as a whole: 53 B, at most 40 B; read it value by value" in shared.refusal(W1, Get("r"))
    assert "its context has 53 B and this takes 62 B, at most 100 B" in shared.refusal(W1, Set("r", "b", raw("x" * 59)))
    shared.get(W1, Set("s", "b", raw(1)))
    assert "it has 2 regions, at most 2" in shared.refusal(W1, Set("t", "c", raw(1)))
    assert "its context has 2 keys, at most 2" in shared.refusal(W1, Set("s", "c", raw(1)))
    shared.get(W1, Lock("s", "one"))
    assert "1 locks are held, at most 1" in shared.refusal(W1, Lock("s", "two"))
    monkeypatch.setattr(sharing, "PARKED_MOST", 0)
    assert "cannot watch: 0 calls of its own wait already" in shared.refusal(W1, Watch("s", "b", 2))
    monkeypatch.setattr(sharing, "PARKED_MOST", 1)
    monkeypatch.setattr(sharing, "PARKED_IN_ALL", 0)
    assert "0 calls of all wait already" in shared.refusal(W1, Watch("s", "b", 2))


def test_contexts_of_ended_processes_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Shared()
    monkeypatch.setattr(sharing, "TOTAL_BYTES", 100)
    shared.get(W1, Set("r", "a", raw(b"x" * 60)))
    assert "all contexts have 63 B, at most 100 B" in shared.refusal(W1, Set("r", "b", raw(b"x" * 60)))
    shared.driver.end(shared.pid)
    other = shared.driver.spawn()
    shared.driver.answer(requests.ChangeContext(other, Set("r", "b", raw(b"x" * 60))))
    assert list(shared.driver.state.contexts.spaces) == [other]


def test_what_cannot_be_shown_is_refused() -> None:
    shared = Shared()
    deep = b"\x91" * 80 + b"\x90"
    assert "nested deeper than 72" in shared.refusal(W1, Set("r", "a", msgspec.Raw(deep)))
    assert "holds a Ext" in shared.refusal(W1, Set("r", "a", raw(msgspec.msgpack.Ext(1, b""))))


# locks


def test_a_lock_goes_to_who_asked_first_and_its_token_grows() -> None:
    shared = Shared()
    first = shared.get(W1, Lock("r", "l"))
    assert shared.ask(W2, Lock("r", "l")) is None
    assert "1001/1 has it already" in shared.refusal(W1, Lock("r", "l"))
    (info,) = shared.get("1001.1", Regions())
    assert info.locks == {"l": "1001/1"}
    done = shared.driver.give(events.ContextCalled(W1, shared.call(W1, Unlock("r", "l", first.token))))
    status, held = answer_to(W2, Lock("r", "l"), done)  # type: ignore[misc]  # it is answered
    assert status == "ok"
    assert held.token > first.token
    assert not shared.get(W1, Unlock("r", "l", first.token)).applied
    assert "1001/2 has it, not 1001/1" in shared.refusal(W1, Unlock("r", "l", held.token))
    assert not shared.get(W1, Unlock("r", "other", 1)).applied


@pytest.mark.parametrize("how", ["result", "worker", "terminated"])
def test_a_lock_of_a_thread_that_ends_is_free_in_the_same_turn(how: str) -> None:
    """By its result, by its worker's death, by our hand."""
    shared = Shared()
    shared.get(W1, Lock("r", "l"))
    assert shared.ask(W2, Lock("r", "l")) is None
    driver = shared.driver
    if how == "result":
        done = driver.finish(W1)
    elif how == "worker":
        done = driver.give(events.Exited(W1, 2, 9, begun=1))
    else:
        driver.answer(requests.KillThread(1))
        done = driver.give(events.Exited(W1, 2, 9, begun=1))
    assert answer_to(W2, Lock("r", "l"), done) is not None


def test_writes_under_a_lock_that_has_passed_on_are_refused() -> None:
    shared = Shared()
    old = shared.get(W1, Lock("r", "l"))
    guard = Guard("l", old.token)
    shared.get(W1, Set("r", "a", raw(1), guard))
    assert shared.driver.answer(requests.ChangeContext(1001, Break("r", "l"))).applied
    assert f'under lock "l" with token {old.token}: nobody has it' in shared.refusal(W1, Set("r", "a", raw(2), guard))
    new = shared.get(W2, Lock("r", "l"))
    for operation in (
        Set("r", "a", raw(2), guard),
        Cas("r", "a", raw(2), 2, guard),
        Increment("r", "n", 1, guard),
        Delete("r", "a", guard),
    ):
        assert f"1001/2 has it, with token {new.token}" in shared.refusal(W1, operation)
    assert shared.get(W2, Get("r", "a")).value == 1
    shared.get(W2, Set("r", "a", raw(3), Guard("l", new.token)))
    assert not shared.driver.answer(requests.ChangeContext(1001, Break("r", "none"))).applied


def test_waiting_for_a_lock_ends_with_its_time_and_says_who_has_it() -> None:
    shared = Shared()
    shared.get(W1, Lock("r", "l"))
    assert shared.ask(W2, Lock("r", "l", 2.0)) is None
    status, answer = answer_to(W2, Lock("r", "l"), shared.driver.give(after=2.1))  # type: ignore[misc]  # it is answered
    assert (status, answer["message"]) == (
        "expired",
        'cannot lock "l" of region "r" of 1001 within 2 s: 1001/1 has had it for 2.1 s',
    )
    expired = shared.ask(W2, Lock("r", "l", 0.0))
    assert expired is not None
    assert expired[0] == "expired"
    assert "cannot delete region" in shared.refusal("1001.1", Delete("r"))


def test_a_waiter_that_ends_is_passed_over() -> None:
    """Its place in the queue goes; the next gets the lock."""
    shared = Shared()
    first = shared.get("1001.1", Lock("r", "l"))
    assert shared.ask(W1, Lock("r", "l")) is None
    assert shared.ask(W2, Lock("r", "l")) is None
    shared.driver.finish(W1)
    done = shared.driver.give(events.ContextCalled("1001.1", shared.call("1001.1", Unlock("r", "l", first.token))))
    assert answer_to(W1, Lock("r", "l"), done) is None
    assert answer_to(W2, Lock("r", "l"), done) is not None


def test_a_waiter_that_may_write_no_longer_is_passed_over() -> None:
    shared = Shared()
    shared.get("1001.1", Lock("r", "l"))
    assert shared.ask(W1, Lock("r", "l")) is None
    assert shared.ask(W2, Lock("r", "l")) is None
    shared.get("1001.1", Share("r", writers=["1001/2"]))
    done = shared.driver.give(events.ContextCalled("1001.1", shared.call("1001.1", Break("r", "l"))))
    refused = answer_to(W1, Lock("r", "l"), done)
    assert refused is not None
    assert refused[0] == "refused"
    assert answer_to(W2, Lock("r", "l"), done) is not None


# watching


def test_a_watcher_hears_of_the_next_change_and_of_a_removal() -> None:
    shared = Shared()
    shared.get(W1, Set("r", "a", raw(1)))
    assert shared.get(W2, Watch("r", "a", 0)).version == 1
    assert shared.ask(W2, Watch("r", "a", 1)) is None
    shared.get(W1, Set("r", "other", raw(1)))
    done = shared.driver.give(events.ContextCalled(W1, shared.call(W1, Set("r", "a", raw(5)))))
    assert answer_to(W2, Watch("r", "a", 1), done) == ("ok", Cell(3, 5))
    assert shared.ask(W2, Watch("r", "a", 3)) is None
    done = shared.driver.give(events.ContextCalled(W1, shared.call(W1, Delete("r", "a"))))
    assert answer_to(W2, Watch("r", "a", 3), done) == ("ok", Cell(0))


def test_a_watched_region_gives_what_is_newer() -> None:
    shared = Shared()
    shared.get(W1, Set("r", "a", raw(1)))
    assert shared.ask(W2, Watch("r", None, 1)) is None
    done = shared.driver.give(events.ContextCalled(W1, shared.call(W1, Set("r", "b", raw(2)))))
    assert answer_to(W2, Watch("r", None, 1), done) == ("ok", context.RegionView(2, {"b": Cell(2, 2)}, 2))


def test_a_watch_ends_with_its_time_or_with_its_right() -> None:
    shared = Shared()
    shared.get(W1, Set("r", "a", raw(1)))
    assert shared.ask(W2, Watch("r", "a", 1, 2.0)) is None
    assert answer_to(W2, Watch("r", "a", 1), shared.driver.give(after=2.1)) == ("ok", Cell(1, 1))
    assert shared.get(W2, Watch("r", "a", 1, 0.0)) == Cell(1, 1)
    assert shared.ask(W2, Watch("r", "a", 1, 60.0)) is None
    shared.get(W1, Share("r", readers=[], writers=[]))
    done = shared.driver.give(events.ContextCalled(W1, shared.call(W1, Set("r", "a", raw(2)))))
    refused = answer_to(W2, Watch("r", "a", 1), done)
    assert refused is not None
    assert refused[0] == "refused"


def test_a_client_watches_and_may_leave() -> None:
    shared = Shared()
    driver = shared.driver
    assert driver.ask(requests.ReadContext(1001, Watch("r", "a", 0, 1000.0))) is None
    assert driver.ask(requests.ReadContext(1001, Watch("r", "a", 0, 1000.0)), sequence=driver.sequence) is None  # the bus asks again
    done = driver.give(events.ContextCalled(W1, shared.call(W1, Set("r", "a", raw(1)))))
    (reply,) = only(done, effects.Reply)
    assert (reply.status, msgspec.msgpack.decode(msgspec.msgpack.encode(reply.answer))) == ("ok", {"version": 1, "value": 1})
    assert driver.ask(requests.ReadContext(1001, Watch("r", "a", 1, 10.0))) is None
    driver.give(events.ClientLeft(b"c"))
    assert not driver.state.contexts.parked
    assert not only(driver.give(after=20.0), effects.Reply)


def test_a_client_needs_the_role_and_the_process() -> None:
    shared = Shared()
    ask = requests.ReadContext(1001, Regions())
    assert 'needs the role "operate"' in shared.driver.refusal(ask, role="observe")
    assert "it belongs to user 0" in shared.driver.refusal(ask, uid=1234)
    assert "it belongs to user 0" in shared.driver.refusal(requests.ChangeContext(1001, Set("r", "a", raw(1))), uid=1234)
    assert "no process 1002" in shared.driver.refusal(requests.ReadContext(1002, Regions()))
    assert "1 to 200 printable" in shared.driver.refusal(requests.ChangeContext(1001, Set("", "a", raw(1))))
    shared.get(W1, Set("r", "a", raw(1)))
    shared.get(W1, Share("r", readers=[], writers=[]))
    assert shared.driver.answer(requests.ReadContext(1001, Get("r", "a"))).version == 1
    monkey = requests.ReadContext(1001, Watch("r", "a", 2, 10.0))
    assert shared.driver.answer(monkey).version == 1


# the death of the kernel


def test_a_change_takes_effect_once_over_the_death_of_a_kernel() -> None:
    """The worker repeats what was not answered; the answer that was kept comes again."""
    shared = Shared()
    driver = shared.driver
    call = shared.call(W1, Increment("r", "n"))
    driver.give(events.ContextCalled(W1, call))
    driver.next_kernel()
    done = driver.give(events.ContextCalled(W1, call), events.ContextCalled(W1, call))
    answers = [effect.message for effect in only(done, effects.AnswerCall)]
    assert [msgspec.msgpack.decode(answer.body)["value"] for answer in answers] == [1, 1]
    assert shared.get(W2, Get("r", "n")).value == 1
    assert shared.get(W1, Increment("r", "n")).value == 2
    assert not driver.give(events.ContextCalled(W1, call)), "it was had, as the call after it says"
    assert driver.state.contexts.callers[W1].floor == 1


def test_what_was_refused_stays_refused_when_it_is_repeated() -> None:
    """The worker may have heard the refusal before the repetition is read, and would not know of a change."""
    shared = Shared()
    shared.get("1001.1", Lock("r", "l"))
    driver = shared.driver
    refused = shared.call(W1, Set("r", "a", raw(1), Guard("l", 99)))
    expired = shared.call(W2, Lock("r", "l", 0.0))
    answers = []
    for _ in range(2):
        done = driver.give(events.ContextCalled(W1, refused), events.ContextCalled(W2, expired))
        answers.append([effect.message for effect in only(done, effects.AnswerCall)])
        shared.get("1001.1", Break("r", "l"))
    assert answers[0] == answers[1]
    assert [answer.status for answer in answers[0]] == ["refused", "expired"]
    assert shared.get("1001.1", Get("r", "a")).version == 0


def test_answers_are_kept_for_so_many_calls_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "ANSWERS_KEPT", 2)
    shared = Shared()
    for _ in range(4):
        shared.refusal(W2, Set("", "n", raw(1)), seen=0)
    assert sorted(shared.driver.state.contexts.refused[W2]) == [3, 4]
    for _ in range(4):
        shared.get(W1, Increment("r", "n"), seen=0)
    assert sorted(shared.driver.state.contexts.callers[W1].answered) == [3, 4]


def test_a_context_outlives_the_kernel() -> None:
    """Values, versions, rights and locks; who waited asks again and gets in line."""
    shared = Shared()
    driver = shared.driver
    shared.get(W1, Set("r", "a", raw({"x": 1})))
    held = shared.get(W1, Lock("r", "l"))
    waiting = shared.call(W2, Lock("r", "l"))
    driver.give(events.ContextCalled(W2, waiting))
    before = shared.get("1001.1", Regions())
    driver.next_kernel()
    assert shared.get("1001.1", Regions()) == before
    assert shared.get("1001.1", Get("r", "a")) == Cell(1, {"x": 1})
    driver.give(events.ContextCalled(W2, waiting))
    done = driver.give(events.Exited(W1, 2, 9, begun=1))
    status, given = answer_to(W2, Lock("r", "l"), done)  # type: ignore[misc]  # it is answered
    assert status == "ok"
    assert given.token > held.token


def test_a_restart_of_the_machine_gives_locks_back() -> None:
    shared = Shared()
    shared.get(W1, Set("r", "a", raw(1)))
    shared.get(W1, Lock("r", "l"))
    shared.driver.next_kernel(interruption="the machine was restarted")
    (info,) = shared.driver.answer(requests.ReadContext(1001, Regions()))
    assert info.locks == {}
    assert info.keys == 1


def test_a_context_stays_until_its_process_leaves_the_table() -> None:
    shared = Shared(ended_kept=1, ended_least=0.0)
    driver = shared.driver
    shared.get(W1, Set("r", "a", raw(1)))
    shared.get(W1, Lock("r", "l"))
    shared.get("1001.1", Set("s", "a", raw(1)))
    shared.get("1001.1", Delete("s"))
    driver.end(shared.pid)
    assert driver.answer(requests.ReadContext(1001, Get("r", "a"))).version == 1
    assert "the process has ended" in driver.refusal(requests.ChangeContext(1001, Set("r", "a", raw(2))))
    assert driver.ask(requests.ReadContext(1001, Watch("r", "a", 1, 60.0))) is None
    other = driver.spawn()
    driver.open(f"{other}.1", 300)
    driver.give(events.MainReady(f"{other}.1", ["work"], []))
    done = driver.end(other)
    (reply,) = only(done, effects.Reply)
    assert reply.answer == {"message": "the context of 1001 is gone"}
    assert not any(table in ("region", "cell", "lock", "caller") for table, _ in driver.rows)


def test_calls_of_nobody_and_of_those_at_their_gate_are_dropped() -> None:
    shared = Shared()
    call = shared.call(W1, Get("r", "a"))
    assert not shared.driver.give(events.ContextCalled("1001.1/w9", call))
    assert not shared.driver.give(events.ContextCalled("zygote/1", call))


def test_two_may_watch_the_same_and_each_has_its_own_time() -> None:
    """One that asks again, as to a new kernel, waits from then on."""
    shared = Shared()
    driver = shared.driver
    first, second = shared.call(W1, Watch("r", "a", 0, 2.0)), shared.call(W2, Watch("r", "a", 0, 2.0))
    driver.give(events.ContextCalled(W1, first), events.ContextCalled(W2, second))
    driver.give(events.ContextCalled(W2, second), after=1.0)
    done = driver.give(after=1.1)
    assert answer_to(W1, first.operation, done) == ("ok", Cell())  # type: ignore[arg-type]  # no room is asked for
    assert answer_to(W2, second.operation, done) is None  # type: ignore[arg-type]  # no room is asked for
    assert answer_to(W2, second.operation, driver.give(after=1.0)) == ("ok", Cell())  # type: ignore[arg-type]  # no room is asked for


def test_a_lock_in_a_context_that_goes_is_held_no_longer() -> None:
    """Its holder is of another process, which lives on."""
    shared = Shared(ended_kept=0, ended_least=0.0)
    driver = shared.driver
    driver.spawn()
    driver.open("1002.1", 300)
    driver.give(events.MainReady("1002.1", ["work"], []))
    shared.get("1001.1", Share("r", writers=["1002"]))
    held = shared.get("1002.1", Lock("r", "l"), pid=1001)
    driver.end(1001)
    assert not driver.state.contexts.held
    assert "no process 1001" in shared.refusal("1002.1", Set("r", "a", raw(1), Guard("l", held.token)), pid=1001)
    driver.end(1002)


def test_no_more_contexts_give_way_than_have_to(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    monkeypatch.setattr(sharing, "TOTAL_BYTES", 150)
    for number in range(3):
        pid = driver.spawn()
        if f"{pid}.1" not in driver.state.children:
            driver.import_code()
        driver.answer(requests.ChangeContext(pid, Set("r", "k", raw(b"x" * 40))))
        driver.open(f"{pid}.1", 100 + number)
        driver.give(events.MainReady(f"{pid}.1", [], []))
        driver.end(pid)
    last = driver.spawn()
    driver.answer(requests.ChangeContext(last, Set("r", "k", raw(b"x" * 40))))
    assert list(driver.state.contexts.spaces) == [1002, 1003, last]


@pytest.mark.parametrize("how", ["dies", "ends", "unlocks", "broken"])
@pytest.mark.parametrize("deaths", [(0,), (1,), (2,), (3,), (1, 2), (0, 1, 2, 3)])
def test_a_lock_is_handed_over_once_wherever_kernels_die(how: str, deaths: tuple[int, ...]) -> None:
    """Who waits asks each kernel again; it is told once, or the same again, and its token is the newer one."""
    shared = Shared()
    driver, asks = shared.driver, Lock("r", "l", 30.0)
    first = shared.get(W1, Lock("r", "l", 0.0)).token
    wanted = shared.call(W2, asks)
    given: list[int] = []

    def told(done: list[effects.AnyEffect]) -> None:
        answer = answer_to(W2, asks, done)
        if answer is not None:
            assert answer[0] == "ok", answer
            given.append(answer[1].token)

    def dies_at(step: int) -> None:
        if step in deaths:
            driver.next_kernel()
            for name in (W1, W2):
                if name in driver.state.children:
                    driver.give(events.WorkerReady(name))
            told(driver.give(events.ContextCalled(W2, wanted)))

    dies_at(0)
    told(driver.give(events.ContextCalled(W2, wanted)))
    dies_at(1)
    assert not given
    match how:
        case "dies":
            told(driver.give(events.Exited(W1, 2, 9, begun=1)))
        case "ends":
            told(driver.finish(W1))
        case "unlocks":
            told(driver.give(events.ContextCalled(W1, shared.call(W1, Unlock("r", "l", first)))))
        case _:
            told(driver.give(events.ContextCalled("1001.1", shared.call("1001.1", Break("r", "l")))))
    dies_at(2)
    dies_at(3)
    assert len(set(given)) == 1, "one token, however often it is said"
    assert given[0] > first
    late = Set("r", "a", raw(1), Guard("l", first))
    if how in ("unlocks", "broken"):
        assert f"1001/2 has it, with token {given[0]}" in shared.refusal(W1, late)
    assert shared.get(W2, Set("r", "a", raw(2), Guard("l", given[0])), sequence=2, seen=1).applied
