"""How a program that is measured takes its orders: one JSON object a line on standard input, one JSON value a line back.

A role says first under which name others reach it. It imports the standard library only: peers' programs run in an environment of their own.
"""

import json
import sys
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

Order = dict[str, Any]


def serve(name: str, tasks: dict[str, Callable[[Order], object]]) -> None:
    """Say the name, then do one task a line until the input ends."""
    say(name)
    for line in sys.stdin:
        order = json.loads(line)
        say(tasks[order["do"]](order))


def say(value: object) -> None:
    """Write one line to whoever measures."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def latencies(ask: Callable[[], object], count: int) -> list[float]:
    """Ask one after the other; gives the microseconds of each."""
    spent = []
    for _ in range(count):
        began = monotonic()
        ask()
        spent.append((monotonic() - began) * 1e6)
    return spent


def shares(order: Order) -> Iterable[tuple[str, int]]:
    """Give who gets how many messages next: batches go to the receivers in turn, and together they get what the order says."""
    names, batch, left = order["to"], order["batch"], order["count"]
    turn = 0
    while left > 0:
        share = min(batch, left)
        yield names[turn % len(names)], share
        turn += 1
        left -= share
