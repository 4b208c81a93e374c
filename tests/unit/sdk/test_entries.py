"""Entries that declare their arguments: what is refused, where, and in which words."""

import asyncio
from types import SimpleNamespace
from typing import Annotated, Any

import msgspec
import pytest

from dadms_ipc.errors import RequestRefused
from dadms_orchestrators.contract import AsyncThread, Orchestrator, Thread
from dadms_orchestrators.entries import thread

NONE: list[str] = []


class Site(msgspec.Struct):
    name: str
    height: float


@thread
def score(
    sites: list[Site], weights: dict[str, float], *, me: Thread, best: Annotated[int, msgspec.Meta(ge=1)] = 3, tags: list[str] = NONE
) -> object:
    tags.append("seen")
    return [me, sorted(site.height * weights[site.name] for site in sites)[-best:], tags]


GOOD = {"sites": [{"name": "a", "height": 2}, {"name": "b", "height": 3}], "weights": {"a": 1.0, "b": 2.0}}


def test_arguments_arrive_as_what_they_were_declared() -> None:
    """Structs are made, defaults are new for each thread, and the thread comes where its annotation stands."""
    me: Any = object()
    for _ in range(2):
        assert score(GOOD, me) == [me, [2.0, 6.0], ["seen"]]
    assert score({**GOOD, "best": 1}, me) == [me, [6.0], ["seen"]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sites": []}, "missing required field `weights`"),
        ({**GOOD, "best": 0}, "argument best: expected `int` >= 1"),
        ({**GOOD, "bets": 1}, "unknown field `bets`"),
        ({**GOOD, "sites": [{"name": "a", "height": "high"}]}, "argument sites[0].height: expected `float`, got `str`"),
        (None, "missing required field `sites`"),
        (3, "expected `object`, got `int`"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(arguments: object, words: str) -> None:
    with pytest.raises(RequestRefused, match='cannot run "score": ') as refused:
        score.check(arguments)
    assert words in str(refused.value)


def _sends_nothing() -> None: ...
def _sends(*parts: int) -> None: ...
def _keywords(**parts: int) -> None: ...
def _strange(part: set[Site] | dict[str, Site] | list[Site] | tuple[Site]) -> None: ...
def _unread(part: "Nowhere") -> None: ...  # type: ignore[name-defined] # noqa: F821 - what is tested
async def _waits(part: int, thread: AsyncThread, more: int = 2) -> int:
    return part + more + thread.tid


async def _asks_plainly(thread: Thread) -> None: ...
def _asks_async(thread: AsyncThread) -> None: ...
async def _yields_async(part: int) -> Any:
    yield part


def _yields(part: int) -> Any:
    yield part


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (_sends, '"*parts: int" has no name of its own'),
        (_keywords, '"**parts: int" has no name'),
        (_strange, "more than one"),
        (_unread, "NameError"),
        (_yields, "it yields, and an entry returns once"),
        (_yields_async, "it yields, and an entry returns once"),
        (_asks_plainly, 'its "thread" has to be of type AsyncThread'),
        (_asks_async, 'its "thread" has to be of type Thread'),
        (str, "it is no function"),
    ],
)
def test_a_function_that_cannot_be_an_entry_is_refused_where_it_is_declared(function: Any, words: str) -> None:
    with pytest.raises(RequestRefused, match="cannot declare the entry") as refused:
        thread(function)
    assert words in str(refused.value)


def test_an_async_function_is_an_async_entry_whose_arguments_are_checked_as_others_are() -> None:
    declared = thread(at_once=20, memory_limit=64 << 20)(_waits)
    assert (declared.name, declared.is_async, declared.at_once, declared.memory_limit) == ("_waits", True, 20, 64 << 20)
    with pytest.raises(RequestRefused, match="argument part: expected `int`, got `str`"):
        declared.check({"part": "x"})
    given: Any = SimpleNamespace(tid=10)
    assert asyncio.run(declared({"part": 1}, given)) == 13  # type: ignore[arg-type]  # an async entry gives its coroutine


def test_at_once_is_for_async_functions() -> None:
    with pytest.raises(RequestRefused, match="at_once = 5: it is no async function"):
        thread(at_once=5)(_sends_nothing)


def test_an_orchestrator_takes_declared_entries_by_their_names() -> None:
    @thread(name="by-another-name")
    def plain() -> int:
        return 7

    orchestrator = Orchestrator(name="o", version="1", run=lambda process: None, entries=[score, plain])
    assert list(orchestrator.entries) == ["score", "by-another-name"]
    nobody: Any = None
    assert orchestrator.entries["by-another-name"](None, nobody) == 7
