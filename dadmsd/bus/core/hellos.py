"""HELLO, and what follows for the session that it opens or joins; who may have one is decided in admission.py."""

from dadms_ipc.envelope import Door, Header, Hello
from dadmsd.bus.core.machines import Machines
from dadmsd.bus.core.state import Connection


class Hellos:
    """Takes hellos, at once or when their time has come."""

    def __init__(self, machines: Machines) -> None:
        self._outbox, self._bounds, self._roster = machines.outbox, machines.bounds, machines.roster
        self._admission, self._exchanges, self._runs = machines.admission, machines.exchanges, machines.runs

    def hello(self, connection: Connection, header: Header, hello: Hello, now: float, *, is_last: bool = False) -> None:
        """Take a HELLO; ``is_last``: it has waited long enough for its process to be enrolled."""
        session = self._admission.hello(connection, header, hello, now, is_last=is_last)
        if connection.parked is not None:
            self._outbox.note(now + self._bounds.enroll_patience)
        if session is not None and connection.peer.door == Door.DATA:
            self._runs.split_held(session)
            session.takes_runs, session.takes_spans = hello.runs, hello.spans
            session.receives = hello.receives
            self._exchanges.attach(session, hello.credit, now)
            if session.service and session.service in self._exchanges.waiting:
                self._exchanges.rename(session.service, now)

    def look_again(self, now: float) -> None:
        """Look again at hellos that wait: for a process that lives now, or for longer than they may once the roster is known."""
        for connection, parked in [(one, one.parked) for one in self._admission.parked.values() if one.parked is not None]:
            header, hello = parked
            is_last = self._roster.is_known and connection.parked_since + self._bounds.enroll_patience <= now
            if is_last or self._roster.lives(hello.pid, hello.incarnation):
                self.hello(connection, header, hello, now, is_last=is_last)
            elif self._roster.is_known:
                self._outbox.note(connection.parked_since + self._bounds.enroll_patience)
