"""Which processes are meant: by pid, by name, by a pattern of names, or by group.

1. A number is a pid. ``group:NAME`` is every process of that group; anything else is a name. Names and groups may be patterns (``etl-*``, ``web?``, ``[ab]``).
2. Of processes with one name those that live are meant, all of them; where none lives, the newest that has ended.
   Those that have ended can neither stand still nor go on: where a pattern or group means some that live, only they are suspended and resumed. Only they are restarted, too:
   a job that was done yesterday, or that somebody stopped, is not done again by the way.
3. What means nobody is a refusal that says which names there are.
4. A name that a file defines, and that nobody has, is told with why nobody does: its definition is refused, not enabled, or not read yet.
5. A name that only the history knows means the newest of that name; who cannot do anything with one that has left the table is told so by the daemon.
6. A command for one process (``ONE``) takes the same words, as long as they mean one; else the refusal says which they mean.
"""

import difflib
import fnmatch
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from dadms_ipc.errors import RequestRefused
from dadms_ipc.requests import Compare, History, LifeInfo, List, ProcessInfo, ReloadReport
from dadmsctl.attempts import Several, attempt
from dadmsctl.door import Door
from dadmsctl.quantities import LARGEST
from dadmsctl.waiting import ENDED

if TYPE_CHECKING:
    from dadms_ipc.client import Client

GROUP = "group:"
SHOWN = 8  # names in a refusal
PAST_SEEN = 1000  # incarnations of the history among which a name is looked for
LOOKING = ("wait for", "show", "explain")  # verbs that the history can answer
LIVING = ("suspend", "resume", "restart")  # verbs that pass over what has ended beside what lives
VERBS = {
    "status": "show",
    "logs": "read the log of",
    "history": "show the history of",
    "events": "show the events of",
    "priority": "set the priority of",
}  # command -> what it is about to do; others are named by their group


def target(text: str) -> str:
    """Refuse what can mean no process, before a daemon is asked."""
    if not text.strip():
        raise click.BadParameter("it is empty, and names no process")
    if text.isdecimal() and int(text) > LARGEST:
        raise click.BadParameter(f"{text} is no pid: the largest is {LARGEST}")
    return text


def resolve(client: "Client", words: Iterable[str], verb: str, several: Several) -> list[int]:
    """Give the pids that are meant, each once, in the order of the words; what means nobody is one of several failures."""
    found: dict[int, None] = {}
    table: list[ProcessInfo] | None = None
    for word in dict.fromkeys(words):
        if word.isdecimal():
            found[int(word)] = None
            continue
        if table is None:
            table = client.call(List())
        with several.attempt(f'{verb} "{word}"'):
            found.update(dict.fromkeys(_meant_ever(client, table, word, verb)))
    return list(found)


def _meant_ever(client: "Client", table: Sequence[ProcessInfo], word: str, verb: str) -> list[int]:
    """Give the pids that a word means, else those that have left the table: of a pattern for who only looks, since nobody means all that ever was; raises RequestRefused."""
    try:
        return meant(table, word, verb)
    except RequestRefused:
        if word.startswith(GROUP) or (verb not in LOOKING and any(sign in word for sign in "*?[")):
            raise
        past: list[LifeInfo] = client.call(History(limit=PAST_SEEN))
        gone = {life.name: life.pid for life in past if fnmatch.fnmatchcase(life.name, word)}  # the newest come last
        if not gone:
            if why := _undefined(client, word):
                raise RequestRefused(f'no process is called "{word}": {why}') from None
            raise
        return sorted(gone.values())


def _undefined(client: "Client", name: str) -> str:
    """Say why a name that a file defines is nobody's; "" where no file defines it."""
    try:
        report: ReloadReport = client.call(Compare())
    except RequestRefused:
        return ""  # who may only look is not told what the files say
    if any(change.name == name and change.action == "start" for change in report.changes):
        return "a file defines it, and it has not been started; dadmsctl reload starts it"
    return report.absent.get(name, "")


def meant(table: Sequence[ProcessInfo], word: str, verb: str = "") -> list[int]:
    """Give the pids that a name, pattern or group means; raises RequestRefused where it means nobody."""
    is_group = word.startswith(GROUP)
    pattern = word.removeprefix(GROUP)
    matching = [
        each for each in table if fnmatch.fnmatchcase(each.group if is_group else each.name, pattern) and (each.group or not is_group)
    ]
    if verb in LIVING:
        matching = [each for each in matching if each.status not in ENDED] or matching
    by_name: dict[str, list[ProcessInfo]] = {}
    for each in matching:
        by_name.setdefault(each.name, []).append(each)
    counted = {pid for group in by_name.values() for pid in _counted(group)}
    pids = [each.pid for each in table if each.pid in counted]
    if pids:
        return pids
    known = sorted({each.group if is_group else each.name for each in table} - {""})
    near = difflib.get_close_matches(pattern, known, 1)
    what = "group" if is_group else "process"
    if near:
        raise RequestRefused(f'no {what} is called "{pattern}"; did you mean "{near[0]}"?')
    there = f"; there are {', '.join(known[:SHOWN])}{' …' if len(known) > SHOWN else ''}" if known else ""
    raise RequestRefused(f'no {what} is called "{pattern}"{there}')


class One(click.ParamType[int]):
    """One process, by whatever word means it; gives its pid."""

    name = "target"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ARG002 - click's signature
        """Read a pid, or ask the daemon whom a name means."""
        if isinstance(value, int):
            return value
        word = target(str(value))
        if word.isdecimal():
            return int(word)
        door = ctx.find_object(Door) if ctx is not None else None
        if ctx is None or door is None or ctx.resilient_parsing:
            return 0  # nobody runs the command: its arguments are only counted
        group = ctx.parent.info_name if ctx.parent is not None else ""
        verb = VERBS.get(str(ctx.info_name), f"find the {group} of")
        with door.connect() as client, attempt(f'{verb} "{word}"'):
            return one(client, word)


ONE = One()


def one(client: "Client", word: str) -> int:
    """Give the one process that a word means; raises RequestRefused where it means several, or nobody."""
    table: list[ProcessInfo] = client.call(List())
    pids = _meant_ever(client, table, word, LOOKING[0])
    if len(pids) > 1:
        names = {each.pid: each.name for each in table}
        shown = ", ".join(f"{pid} ({names[pid]})" if pid in names else str(pid) for pid in pids[:SHOWN])
        raise RequestRefused(f"it means {len(pids)} processes, {shown}{' …' if len(pids) > SHOWN else ''}; say which")
    return pids[0]


def _counted(same: Sequence[ProcessInfo]) -> list[int]:
    living = [each.pid for each in same if each.status not in ENDED]
    return living or [max(each.pid for each in same)]
