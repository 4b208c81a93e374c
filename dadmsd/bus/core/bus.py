"""The bus, without any I/O: ``handle(event, now) -> effects``, ``next_deadline()``, ``check()``.

What happens goes to whoever takes it: clients' words to intake.py, the kernel's to kernel_words.py, ends to endings.py, time to clockwork.py. They share the
machines of machines.py, each of which keeps one thing: sessions, queues, exchanges, runs, what is on disk, and so on.
"""

from collections.abc import Mapping

from dadms_ipc.errors import InternalError
from dadmsd.bus.core import inspection
from dadmsd.bus.core.access import Access
from dadmsd.bus.core.accounts import Accounts, Share
from dadmsd.bus.core.clockwork import Clockwork
from dadmsd.bus.core.disk import Kept, NotKept, Restored
from dadmsd.bus.core.endings import Endings
from dadmsd.bus.core.events import (
    Effect,
    Event,
    Grant,
    KeysChanged,
    LinkLost,
    LinkOpened,
    LinkReceived,
    LinkRecovered,
    Noted,
    Received,
    Resumed,
    ToKernel,
    Vanished,
)
from dadmsd.bus.core.hellos import Hellos
from dadmsd.bus.core.intake import Intake
from dadmsd.bus.core.kernel_words import KernelWords
from dadmsd.bus.core.machines import assemble
from dadmsd.bus.core.offers import Offerers
from dadmsd.bus.core.state import Bounds
from dadmsd.kernel import link


class Bus:
    """The whole of the bus's decisions."""

    def __init__(
        self,
        bus: bytes,  # 16 random bytes of this start
        *,
        roles: Mapping[int, str],  # uid -> role
        groups: Mapping[int, str] | None = None,  # gid -> role
        keys: Mapping[str, Grant] | None = None,  # the allow-list
        doors: dict[str, int] | None = None,  # ports, for those who came over a network
        bounds: Bounds | None = None,
        incarnation: int = 0,
        os_pid: int = 0,
        wall: float = 0.0,  # wall clock minus the clock of ``now``, seconds
        services: Mapping[str, Offerers] | None = None,  # name -> who may offer it
    ) -> None:
        limits = self.bounds = bounds or Bounds()
        accounts = Accounts(
            limits.pool_bytes,
            Share(limits.client_sessions, limits.client_patterns, limits.client_open),
            Share(limits.user_sessions, limits.user_patterns, limits.user_open),
            frozenset(uid for uid, role in roles.items() if role == "admin"),
        )
        access = Access(roles, groups or {}, keys or {})
        machines = assemble(
            bus,
            bounds=limits,
            access=access,
            accounts=accounts,
            offerers=services or {},
            doors=doors or {},
            wall=wall,
            status=self.status,
        )
        self._hello = link.BusHello(incarnation, os_pid)
        self.outbox, self.roster, self.access, self.accounts = machines.outbox, machines.roster, access, accounts
        self.services, self.admission, self.addresses = machines.services, machines.admission, machines.addresses
        self.deliveries, self.exchanges, self.runs = machines.deliveries, machines.exchanges, machines.runs
        self.letters, self.keeping, self.calls, self.publications = (
            machines.letters,
            machines.keeping,
            machines.calls,
            machines.publications,
        )
        self._endings, self._hellos = Endings(machines), Hellos(machines)
        self._clockwork = Clockwork(machines, self._endings, self._hellos)
        self._kernel_words = KernelWords(machines, self._endings, self._hellos)
        self._intake = Intake(machines, self._endings, self._hellos, self._clockwork, bus)
        self.rests = self._intake.rests  # of batches: the shell says ``Resumed``, and takes nothing else from that door meanwhile
        self._joints = self._intake.joints

    def handle(self, event: Event, now: float, *, gathers: bool = False) -> list[Effect]:
        """Take what happened; give what must be done, in order. ``gathers``: more follows at once, up to ``release``."""
        self._intake.gathers = gathers
        if type(event) is Received:
            self._intake.take(event, now)
        elif type(event) is Resumed:
            self._intake.resume(event.door, now)
        elif type(event) is LinkReceived:
            self._kernel_words.take(event, now)
        elif type(event) is LinkOpened:
            self.outbox.effects.append(ToKernel(self._hello))
            self.publications.relink()
            self.calls.relink()
        elif type(event) is LinkRecovered:
            self.publications.relink()
            self.calls.relink()
        elif type(event) is LinkLost:
            self.calls.is_linked = False
        elif type(event) is Vanished:
            if event.is_gone:
                self._intake.finish(event.peer, now)
            self._endings.vanished(event, now)
        elif type(event) is KeysChanged:
            self._endings.keys_changed(event.keys, now)
        elif type(event) is Noted:
            line = event.line
            subject = "" if line.who is None else str(line.who)
            self.outbox.record(line.verdict, line.who, subject, line.what, line.why or line.text, now, line.text)
        elif type(event) is Kept:
            self.exchanges.kept(event, now)
        elif type(event) is NotKept:
            self.exchanges.not_kept(event, now)
        elif type(event) is Restored:
            self.exchanges.place_stored(self.keeping.restore(event, now), now)
            self._clockwork.restarted(now)
        else:
            self._clockwork.tick(now)
        if self._joints.pending and not gathers:
            self._joints.release_all(now)
        return self.outbox.drain()

    def release(self, now: float) -> list[Effect]:
        """End what ``gathers`` began: give what is left to be done."""
        self._joints.release_all(now)
        return self.outbox.drain()

    def next_deadline(self) -> float | None:
        """Give when ``Ticked`` has something to do."""
        return self._clockwork.next_deadline()

    def status(self) -> dict[str, object]:
        """Give the counters, and how much there is of everything."""
        return inspection.status(self)

    def check(self) -> None:
        """Raise InternalError when what must always hold does not."""
        for rule, holds in inspection.rules(self):
            if not holds:
                raise InternalError(f"the bus broke its own rule: {rule}")
