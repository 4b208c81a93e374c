"""What people and tests look at: how much there is of everything, and the rules that always hold."""

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from dadmsd.bus.core.bus import Bus


def status(bus: "Bus") -> dict[str, object]:
    """Give the counters, and how much there is of everything."""
    sessions, counters, waiting = bus.admission.sessions.values(), bus.outbox.counters, bus.exchanges.waiting.values()
    return {
        "counters": {name: getattr(counters, name) for name in type(counters).__slots__},
        "connections": len(bus.admission.connections),
        "sessions": len(sessions),
        "enrolled": len(bus.roster),
        "calls": len(bus.calls.pending),
        "exchanges": len(bus.exchanges.open),
        "queued": sum(len(session.queue) for session in sessions) + sum(map(len, waiting)),
        "is_linked": bus.calls.is_linked,
        "bounds": msgspec.to_builtins(bus.bounds),
    }


def rules(bus: "Bus") -> list[tuple[str, bool]]:
    """Give each rule and whether it holds now."""
    admission, exchanges, bounds = bus.admission, bus.exchanges.open, bus.bounds
    sessions, connections = list(admission.sessions.values()), list(admission.connections.values())
    living = sorted(map(id, sessions))
    return [
        (
            "a session's connections lead back to it",
            all(admission.connections[p].session is s for s in sessions for p in s.routes.values()),
        ),
        ("a connection's session lives", all(c.session is None or c.session is admission.sessions[c.session.client] for c in connections)),
        ("sessions are found by their addresses", sorted(id(s) for group in admission.by_address.values() for s in group) == living),
        (
            "a hello that waits has a connection",
            all(admission.connections[p] is c and c.parked is not None for p, c in admission.parked.items()),
        ),
        ("an exchange is its sender's", all(e.sender.asked[i] is e and id(e.sender) in living for i, e in exchanges.items())),
        ("a sender's exchanges are open", sum(len(s.asked) for s in sessions) == len(exchanges)),
        ("an open exchange is not over", not any(e.is_over for e in exchanges.values())),
        (
            "what is held was delivered there",
            all(e.is_delivered and not e.is_over and e.holder is s for s in sessions for e in s.holds.values()),
        ),
        ("bytes asked are counted", all(s.asked_bytes == sum(e.size for e in s.asked.values()) for s in sessions)),
        ("bytes queued are counted", all(s.queue_bytes == sum(d.size for d in s.queue) for s in sessions)),
        ("bytes in flight are counted", all(s.flight_bytes == sum(s.flight) for s in sessions)),
        (
            "queues are bounded",
            all(len(s.queue) <= 2 * bounds.queue + bounds.open for s in sessions),
        ),  # what waited, and what is redelivered, come on top
        ("senders are bounded", all(len(s.asked) <= bounds.open and s.calls <= bounds.calls for s in sessions)),
        ("calls are counted", all(s.calls == sum(c.session is s for c in bus.calls.pending.values()) for s in sessions)),
        ("a call's session lives", all(id(c.session) in living for c in bus.calls.pending.values())),
    ]
