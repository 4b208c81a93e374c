"""What the kernel says: answers, events, and who lives, is suspended, or is expected.

What an older kernel than the newest that spoke says is dropped, and written down.
"""

from dadmsd.bus.core.addresses import is_pid
from dadmsd.bus.core.endings import Endings
from dadmsd.bus.core.events import LinkReceived
from dadmsd.bus.core.hellos import Hellos
from dadmsd.bus.core.machines import Machines
from dadmsd.bus.core.state import Entry
from dadmsd.kernel import link


class KernelWords:
    """Takes the kernel at its word."""

    def __init__(self, machines: Machines, endings: Endings, hellos: Hellos) -> None:
        self._outbox, self._roster, self._admission, self._addresses = (
            machines.outbox,
            machines.roster,
            machines.admission,
            machines.addresses,
        )
        self._deliveries, self._exchanges, self._attempts = machines.deliveries, machines.exchanges, machines.attempts
        self._publications, self._calls = machines.publications, machines.calls
        self._endings, self._hellos = endings, hellos
        self._epoch = 0  # of the newest kernel that spoke

    def take(self, event: LinkReceived, now: float) -> None:
        """Take a message of the kernel's."""
        message = event.message
        if event.epoch < self._epoch:
            self._outbox.audit(f"dropped a {type(message).__name__} of the kernel's epoch {event.epoch}: the newest is {self._epoch}", now)
            return
        self._epoch = event.epoch
        if isinstance(message, link.Reply):
            self._calls.reply(message, now)
        elif isinstance(message, link.Event):
            self._publications.tell(message, now)
            if self._deliveries.stalled:
                self._endings.cut_stalled(now)
        elif isinstance(message, link.Enrolled):
            old = self._roster.get(message.pid)
            self._roster.enroll(
                Entry(
                    message.pid,
                    message.incarnation,
                    message.name,
                    message.uid,
                    message.secret_digest,
                    message.group,
                    message.parent,
                    message.kind,
                )
            )
            if old is not None and old.incarnation != message.incarnation:
                self._endings.expel_absent(self._admission.by_address.get(str(message.pid), ()), now)
                if str(message.pid) in self._exchanges.waiting:
                    self._exchanges.want(str(message.pid))
            self._hellos.look_again(now)
        elif isinstance(message, link.Expected):
            self._roster.enroll(Entry(message.pid, 0, message.name, -1, b"", message.group, message.parent, message.kind))
            self._endings.expel_absent(self._admission.by_address.get(str(message.pid), ()), now)
        elif isinstance(message, link.Discharged):
            if self._roster.discharge(message.pid, message.incarnation, returns=message.returns):
                self._endings.expel_absent(self._admission.by_address.get(str(message.pid), ()), now)
                if message.returns:
                    self._exchanges.stop_waiting(str(message.pid), now)
                else:
                    self._exchanges.discharge(str(message.pid), f"process {message.pid} ended", now)
        elif isinstance(message, link.Paused):
            self._pause(message, now)
        elif isinstance(message, link.KernelHello):
            self._roster.begin()
        else:
            self._roster_sent(now)

    def _pause(self, message: link.Paused, now: float) -> None:
        for session in self._admission.by_address.get(str(message.pid), ()):
            session.is_paused = message.is_paused
            if not message.is_paused:
                self._attempts.resume(session, now)

    def _roster_sent(self, now: float) -> None:
        self._roster.finish()
        self._endings.expel_absent(self._admission.sessions.values(), now)
        self._hellos.look_again(now)
        for address in list(self._exchanges.waiting):
            if not is_pid(address) and address not in self._admission.by_address:
                self._exchanges.rename(address, now)
            elif not self._addresses.may_come(address):
                self._exchanges.discharge(address, f"process {address} does not live", now)
            else:
                self._exchanges.want(address)
