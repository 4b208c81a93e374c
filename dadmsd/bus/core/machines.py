"""The machines of the bus, each with what it keeps, and how they hang together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dadmsd.bus.core.access import Access
from dadmsd.bus.core.accounts import Accounts
from dadmsd.bus.core.addresses import Addresses
from dadmsd.bus.core.admission import Admission
from dadmsd.bus.core.attempts import Attempts
from dadmsd.bus.core.broadcasts import Broadcasts
from dadmsd.bus.core.calls import Calls
from dadmsd.bus.core.deliveries import Deliveries
from dadmsd.bus.core.exchanges import Exchanges
from dadmsd.bus.core.inquiries import Inquiries
from dadmsd.bus.core.keeping import Keeping
from dadmsd.bus.core.letters import Letters
from dadmsd.bus.core.offers import Offerers
from dadmsd.bus.core.outbox import Outbox
from dadmsd.bus.core.publications import Publications
from dadmsd.bus.core.roster import Roster
from dadmsd.bus.core.runs import Runs
from dadmsd.bus.core.services import Services
from dadmsd.bus.core.state import Bounds


@dataclass(slots=True, frozen=True)
class Machines:
    """One of each."""

    bounds: Bounds
    outbox: Outbox
    roster: Roster
    access: Access
    accounts: Accounts
    services: Services
    admission: Admission
    deliveries: Deliveries
    addresses: Addresses
    letters: Letters
    keeping: Keeping
    exchanges: Exchanges
    attempts: Attempts
    broadcasts: Broadcasts
    inquiries: Inquiries
    runs: Runs
    publications: Publications
    calls: Calls


def assemble(
    bus: bytes,
    *,
    bounds: Bounds,
    access: Access,
    accounts: Accounts,
    offerers: Mapping[str, Offerers],
    doors: dict[str, int],
    wall: float,
    status: Callable[[], dict[str, object]],
) -> Machines:
    """Make the machines of a bus; ``status`` is what it says of itself."""
    outbox, roster = Outbox(), Roster()
    services = Services(roster, offerers)
    admission = Admission(outbox, bounds, roster, access, accounts, bus, doors, services)
    deliveries = Deliveries(outbox, bounds)
    addresses = Addresses(roster, admission)
    letters = Letters(outbox, bounds)
    keeping = Keeping(outbox, bounds, letters, wall)
    exchanges = Exchanges(outbox, bounds, deliveries, addresses, keeping, letters)
    attempts = Attempts(outbox, bounds, deliveries, exchanges, keeping)
    broadcasts = Broadcasts(outbox, bounds, roster, addresses, deliveries, exchanges, keeping)
    inquiries = Inquiries(outbox, bounds, addresses, letters, keeping, status)
    runs = Runs(outbox, bounds, addresses, deliveries, exchanges, keeping)
    exchanges.split_held = runs.split_held
    publications, calls = Publications(outbox, bounds, deliveries), Calls(outbox, bounds)
    return Machines(
        bounds,
        outbox,
        roster,
        access,
        accounts,
        services,
        admission,
        deliveries,
        addresses,
        letters,
        keeping,
        exchanges,
        attempts,
        broadcasts,
        inquiries,
        runs,
        publications,
        calls,
    )
