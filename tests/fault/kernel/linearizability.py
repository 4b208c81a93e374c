"""Checks a recorded history of one value: some order of all operations, each at an instant between its call and its answer, must explain every answer.

Rule 1: the value is modelled as (version, value), and each operation says what it saw and what it did. A write's version must be above the one before.
Rule 2: each client does one operation after the other, so what was linearized is known by one index a client; a state that was seen at such a place leads nowhere
new (Wing and Gong's search, with Lowe's memory of the states that were seen).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

Register = tuple[int, object]  # version, value


class Done(NamedTuple):
    """One operation of one client."""

    called: float  # CLOCK_MONOTONIC, which all processes of a machine share
    answered: float
    kind: str  # "get", "set", "cas", "increment"
    argument: object  # of set and cas: the new value; of increment: the addend
    expected: int  # of cas: the version
    applied: bool
    version: int  # that was answered
    value: object  # that was answered: by get, by increment, by a cas that was not applied


def step(state: Register, done: Done) -> Register | None:
    """Give the state after an operation; None when its answer cannot be explained by the state before."""
    version, value = state
    if done.kind == "get":
        return state if (done.version, done.value) == state else None
    if done.kind == "cas" and not done.applied:
        return state if (done.version, done.value) == state and done.expected != version else None
    if done.version <= version or (done.kind == "cas" and done.expected != version):
        return None
    if done.kind == "increment":
        total = (value or 0) + done.argument  # type: ignore[operator]  # numbers, in such a history
        return (done.version, total) if done.value == total else None
    return done.version, done.argument


def explain(clients: Sequence[Sequence[Done]], start: Register = (0, None)) -> bool:
    """Tell whether a history is linearizable."""
    first = (tuple(0 for _ in clients), start)
    seen = {first}
    stack = [first]
    while stack:
        places, state = stack.pop()
        heads = [(client, ops[place]) for client, (ops, place) in enumerate(zip(clients, places, strict=True)) if place < len(ops)]
        if not heads:
            return True
        bound = min(done.answered for _, done in heads)  # what was called after that cannot come first
        for client, done in heads:
            after = step(state, done) if done.called <= bound else None
            if after is None:
                continue
            reached = (tuple(place + (each == client) for each, place in enumerate(places)), after)
            if reached not in seen:
                seen.add(reached)
                stack.append(reached)
    return False


def history(rows: Iterable[Iterable[Sequence[object]]]) -> list[list[Done]]:
    """Make a history of what threads gave as their results."""
    return [[Done(*row) for row in client] for client in rows]  # type: ignore[arg-type]  # as the entry wrote them
