"""What a message costs, beside what else carries messages: ``python -m benchmarks.bus [--json] [--repeats N] [--only NAME…]``.

Peers, in the same run and with the same programs around them: a bare pyzmq ROUTER that forwards without looking, Redis (lists, and its own publications),
NATS. Ours has sessions, roles, bounded queues, counters and deadlines, and every one-way message is acknowledged end to end; theirs has not, which is to
their advantage. "Batched" is 64 messages handed over together, in whatever way a system has for it.

Requests: one after the other, in slices that take turns between the systems, so that a neighbour on the machine disturbs all. One-way: from the first
message to the moment when the last receiver has the last, and, with us, the last sender knows it.
"""

import argparse
import contextlib
import signal
import statistics
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from benchmarks.bus_peers import systems
from benchmarks.bus_peers.systems import Program, System
from benchmarks.report import Row, machine, report
from dadms_ipc.errors import DadmsError

SMALL, LARGE = 140, 64 * 1024  # bytes of a body
BATCH = 64  # messages
REPEATS = 3
SLICES = 8  # of requests a repeat
REQUESTS = {SMALL: 150, LARGE: 60}  # a slice
WARM_UP = 50  # requests
MANY = 8  # senders, and receivers
FAN = 100  # subscribers
FAN_PROGRAMS = 4  # that hold them


class Way(NamedTuple):
    """A system and how messages are given to it."""

    label: str
    system: str
    batch: int
    counts: dict[int, int]  # size -> messages of a repeat: about half a second
    note: str = ""


ACKNOWLEDGED = "acknowledged end to end"
WAYS = {
    "dadms": Way("dadms, coalesced", "dadms", BATCH, {SMALL: 100_000, LARGE: 500}, ACKNOWLEDGED),
    "dadms-alone": Way("dadms, one by one", "dadms", 1, {SMALL: 20_000, LARGE: 500}, ACKNOWLEDGED),
    "router": Way("bare ROUTER, one by one", "router", 1, {SMALL: 30_000, LARGE: 500}, "not acknowledged"),
    "router-batched": Way("bare ROUTER, batched", "router", BATCH, {SMALL: 300_000, LARGE: 500}, "not acknowledged"),
    "redis": Way("Redis lists, batched", "redis", BATCH, {SMALL: 60_000, LARGE: 500}, "kept by the server, not acknowledged"),
    "nats": Way("NATS, its client coalesces", "nats", BATCH, {SMALL: 60_000, LARGE: 500}, "at most once"),
}
FANS = {"dadms": 500, "router": 500, "redis": 500, "nats": 500}  # publications a repeat


def requests(running: dict[str, System], size: int, repeats: int) -> dict[str, list[list[float]]]:
    """Give the microseconds of requests by system, a list a slice."""
    spent: dict[str, list[list[float]]] = {name: [] for name in running}
    with contextlib.ExitStack() as stack:
        pairs = {}
        for name, system in running.items():
            responder = stack.enter_context(Program(system, "respond", "responder"))
            requester = stack.enter_context(Program(system, "request", "requester"))
            pairs[name] = (requester, responder.name)
        for turn in range(1 + repeats * SLICES):
            for name, (requester, to) in pairs.items():
                requester.order("request", to=[to], size=size, count=REQUESTS[size] if turn else WARM_UP)
                slice_ = requester.answer()
                if turn:
                    spent[name].append(slice_)
    return spent


def oneway(running: dict[str, System], size: int, many: int, repeats: int) -> dict[str, list[float]]:
    """Give the messages a second by way, one number a repeat."""
    rates: dict[str, list[float]] = {name: [] for name, way in WAYS.items() if way.system in running}
    for turn in range(1 + repeats):
        for name in rates:
            way = WAYS[name]
            system = running[way.system]
            with contextlib.ExitStack() as stack:
                receivers = [stack.enter_context(Program(system, "receive", f"receiver-{number}")) for number in range(many)]
                senders = [stack.enter_context(Program(system, "send", f"sender-{number}")) for number in range(many)]
                total = way.counts[size] if turn else many * many * way.batch  # the first is a rehearsal
                share = max(1, total // (many * many * way.batch)) * many * way.batch  # of a sender: a whole number of rounds
                rates[name].append(_time(senders, receivers, size, share, way.batch))
            if not turn:
                rates[name].clear()
    return rates


def _time(senders: Sequence[Program], receivers: Sequence[Program], size: int, share: int, batch: int) -> float:
    for receiver in receivers:
        receiver.order("receive", count=share * len(senders) // len(receivers))
    names = [receiver.name for receiver in receivers]
    for number, sender in enumerate(senders):
        sender.order("send", to=names[number:] + names[:number], size=size, count=share, batch=batch)
    ends: list[float] = []
    begins: list[float] = []
    for sender in senders:
        began, ended = sender.answer()
        begins.append(began)
        ends.append(ended)
    ends += [receiver.answer() for receiver in receivers]
    return share * len(senders) / (max(ends) - min(begins))


def fan_out(running: dict[str, System], repeats: int) -> dict[str, list[float]]:
    """Give the deliveries a second to FAN subscribers by system."""
    rates: dict[str, list[float]] = {name: [] for name in running}
    for name, system in running.items():
        with contextlib.ExitStack() as stack:
            share = str(FAN // FAN_PROGRAMS)
            subscribers = [stack.enter_context(Program(system, "subscribe", f"fan-{number}", share)) for number in range(FAN_PROGRAMS)]
            publisher = stack.enter_context(Program(system, "publish", "publisher"))
            for turn in range(1 + repeats):
                count = FANS[name] if turn else 20
                for subscriber in subscribers:
                    subscriber.order("receive", count=count)
                publisher.order("send", size=SMALL, count=count, batch=BATCH)
                began, _ = publisher.answer()
                end = max(subscriber.answer() for subscriber in subscribers)
                if turn:
                    rates[name].append(count * FAN / (end - began))
    return rates


@contextlib.contextmanager
def start(only: Sequence[str]) -> Iterator[tuple[dict[str, System], dict[str, str]]]:
    """Start the systems that are here; gives them, and what is missing of the others."""
    with contextlib.ExitStack() as stack:
        running = {"dadms": stack.enter_context(systems.ours()), "router": stack.enter_context(systems.router())}
        missing: dict[str, str] = {}
        wanted = [name for name in ("redis", "nats") if not only or name in only]
        python, reason = systems.clients() if wanted else (None, "")
        for name in wanted:
            if systems.found(f"{name}-server") is None:
                missing[name] = f"{name}-server is not installed (Debian's package of that name)"
            elif python is None:
                missing[name] = reason
            else:
                running[name] = stack.enter_context(getattr(systems, name)(python))
        yield running, missing


def measure(repeats: int, only: Sequence[str]) -> tuple[dict[str, float], list[Row], dict[str, str]]:
    """Run everything; gives the figures, the rows of the table, and why a peer is left out."""
    rows: list[Row] = []
    figures: dict[str, float] = {}
    with start(only) as (running, missing):
        for size in (SMALL, LARGE):
            spent = requests(running, size, repeats)
            medians = {name: [statistics.median(one) for one in slices] for name, slices in spent.items()}
            for name, values in medians.items():
                rows.append(Row(f"request and answer, {size} B, {name}", values, "µs"))
            if size == SMALL:
                every = sorted(one for slice_ in spent["dadms"] for one in slice_)
                figures["request_us_p50"] = statistics.median(every)
                figures["request_us_p99"] = every[int(len(every) * 0.99)]
                rows.append(Row(f"  99th percentile, {size} B, dadms", [figures["request_us_p99"]], "µs"))
                for name in ("router", "redis", "nats"):
                    if name in medians:  # slice by slice: both saw the same neighbours
                        ratios = [mine / theirs for mine, theirs in zip(medians["dadms"], medians[name], strict=True)]
                        figures[f"request_ratio_vs_{name}"] = statistics.median(ratios)
        for size, many in ((SMALL, 1), (LARGE, 1), (SMALL, MANY)):
            rates = oneway(running, size, many, repeats)
            for name, values in rates.items():
                rows.append(Row(f"one-way, {size} B, {many}x{many}, {WAYS[name].label}", values, "/s", WAYS[name].note))
            if (size, many) == (SMALL, 1):
                figures |= _oneway_figures({name: statistics.median(values) for name, values in rates.items()})
        for name, values in fan_out(running, repeats).items():
            rows.append(Row(f"fan-out to {FAN}, {SMALL} B, {name}", values, "/s", "deliveries"))
        return figures, rows, missing


def _oneway_figures(rates: dict[str, float]) -> dict[str, float]:
    mine = rates["dadms"]
    figures = {"oneway_per_second": mine, "oneway_ratio_vs_router": mine / rates["router-batched"]}
    figures["oneway_ratio_vs_router_unbatched"] = mine / rates["router"]
    figures["oneway_uncoalesced_ratio_vs_router_unbatched"] = rates["dadms-alone"] / rates["router"]
    for name in ("redis", "nats"):
        if name in rates:
            figures[f"oneway_ratio_vs_{name}"] = mine / rates[name]
    return figures


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bus", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--repeats", type=int, default=REPEATS, help=f"of each measurement; medians are shown (default {REPEATS})")
    parser.add_argument("--only", nargs="*", default=[], help="peers to run beside the bare ROUTER: redis, nats (default: both)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # so that a run that is cut short leaves nothing either
    on: dict[str, Any] = machine()
    try:
        figures, rows, missing = measure(max(1, options.repeats), options.only)
    except DadmsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    report("bus", figures, rows, as_json=options.json, about="what a message costs", on=on)
    for name, reason in missing.items():
        sys.stderr.write(f"skipped {name}: {reason}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
