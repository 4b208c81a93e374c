"""What people and tests look at: how much there is of everything, and the rules that always hold."""

from typing import TYPE_CHECKING

import msgspec

from dadmsd.bus.core.keeping import DEAD, OUTCOMES
from dadmsd.bus.core.state import Exchange, Place

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
        "accounts": len(bus.accounts),
        "pool_used": bus.accounts.pool.used,
        "calls": len(bus.calls.pending),
        "exchanges": len(bus.exchanges.open),
        "queued": sum(len(session.queue) for session in sessions) + sum(map(len, waiting)),
        "stored": len(bus.keeping.rows),
        "stored_bytes": bus.keeping.size,
        "dead_letters": len(bus.letters.letters),
        "outcomes": {**bus.keeping.tallies, **bus.letters.tallies},  # of what was ever on disk
        "services": {name: session.address for name, session in bus.services.holders.items()},
        "is_linked": bus.calls.is_linked,
        "bounds": msgspec.to_builtins(bus.bounds),
    }


def rules(bus: "Bus") -> list[tuple[str, bool]]:
    """Give each rule and whether it holds now."""
    admission, exchanges, bounds = bus.admission, bus.exchanges.open, bus.bounds
    rows, letters, tallies = bus.keeping.rows, bus.letters.letters, bus.keeping.tallies
    sessions, connections = list(admission.sessions.values()), list(admission.connections.values())
    accounts = set(bus.accounts)
    calls: dict[int, int] = {}
    for call in bus.calls.pending.values():
        calls[id(call.session)] = calls.get(id(call.session), 0) + call.size
    living = sorted(map(id, sessions))
    return [
        (
            "a session's connections lead back to it",
            all(admission.connections[p].session is s for s in sessions for p in s.routes.values()),
        ),
        ("a connection's session lives", all(c.session is None or c.session is admission.sessions[c.session.client] for c in connections)),
        ("sessions are found by their addresses", sorted(id(s) for group in admission.by_address.values() for s in group) == living),
        (
            "an offered name is of a session that lives",
            all(s.service == name and id(s) in living for name, s in bus.services.holders.items())
            and sum(bool(s.service) for s in sessions) == len(bus.services.holders),
        ),
        (
            "a hello that waits has a connection",
            all(admission.connections[p] is c and c.parked is not None for p, c in admission.parked.items()),
        ),
        (
            "an exchange is its sender's",
            all(e.sender.asked[i] is e and id(e.sender) in living for i, e in exchanges.items() if e.sender is not None),
        ),
        ("what has no sender is on disk", all(e.place is Place.DISK for e in exchanges.values() if e.sender is None)),
        ("a sender's exchanges are open", sum(len(s.asked) for s in sessions) == sum(e.sender is not None for e in exchanges.values())),
        ("what is on disk is not over", not any(e.is_over or e.place is Place.MEMORY for e in rows.values())),
        ("what is on disk has a place", all(e.holder is not None or e.place is Place.STORING or _waits(bus, e) for e in rows.values())),
        ("what is in a receiver's hands is open", all(exchanges.get(i) is e for i, e in rows.items() if e.holder is not None)),
        ("bytes on disk are counted", bus.keeping.size == sum(e.size for e in rows.values())),
        (
            "every message that was ever on disk has one outcome, or is there",
            tallies["kept"] == len(rows) + sum(tallies[one] for one in OUTCOMES),
        ),
        ("every dead letter is there, or has one end", tallies[DEAD] == len(letters) + sum(bus.letters.tallies.values())),
        ("dead letters are found by their ids", sorted(bus.letters.by_id.values()) == sorted(letters)),
        ("bytes of dead letters are counted", bus.letters.size == sum(one.size for one in letters.values())),
        ("a suspect is in its receiver's hands", all(s.suspect is None or s.holds.get(s.suspect.header.id) is s.suspect for s in sessions)),
        ("an open exchange is not over", not any(e.is_over for e in exchanges.values())),
        (
            "what is held was delivered there",
            all(e.is_delivered and not e.is_over and e.holder is s for s in sessions for e in s.holds.values()),
        ),
        (
            "bytes asked are counted",
            all(s.asked_bytes == sum(e.size for e in s.asked.values()) + sum(r.size for r in s.runs.values()) for s in sessions),
        ),
        (
            "a run is its sender's and its receiver's",
            all(id(r.sender) in living and id(r.holder) in living and r.open for r in bus.runs.open.values())
            and all(bus.runs.open.get(i) is r for s in sessions for i, r in (*s.runs.items(), *s.held.items())),
        ),
        ("bytes queued are counted", all(s.queue_bytes == sum(d.size for d in s.queue) for s in sessions)),
        ("bytes in flight are counted", all(s.flight_bytes == sum(s.flight) for s in sessions)),
        (
            "queues are bounded",
            all(len(s.queue) <= 2 * bounds.queue + bounds.open for s in sessions),
        ),  # what waited, and what is redelivered, come on top
        ("senders are bounded", all(len(s.asked) <= bounds.open and s.calls <= bounds.calls for s in sessions)),
        ("calls are counted", all(s.calls == sum(c.session is s for c in bus.calls.pending.values()) for s in sessions)),
        ("a call's session lives", all(id(c.session) in living for c in bus.calls.pending.values())),
        ("a session's client and user have accounts", all(s.tab.client in accounts and s.tab.user in accounts for s in sessions)),
        ("accounts are those of sessions", all(a.sessions for a in accounts)),
        (
            "what a session has is charged",
            all(s.tab.bytes == s.asked_bytes + sum(d.size for d in s.queue if d.is_charged) + calls.get(id(s), 0) for s in sessions),
        ),
        ("the pool balances", bus.accounts.pool.used == sum(s.tab.bytes for s in sessions)),
        ("open requests are charged", sum(a.open for a in accounts) == 2 * sum(len(s.asked) + len(s.runs) + s.calls for s in sessions)),
        ("subscriptions are charged", sum(a.patterns for a in accounts) == 2 * sum(len(s.patterns) for s in sessions)),
    ]


def _waits(bus: "Bus", exchange: Exchange) -> bool:
    return exchange in bus.exchanges.waiting.get(exchange.address, ())
