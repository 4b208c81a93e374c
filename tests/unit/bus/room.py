"""A bus core, clients that are lists of envelopes, and a clock that moves when it is told to."""

import hashlib

from dadms_ipc.codec import encode_body, encode_header, trouble_of
from dadms_ipc.envelope import VERSION, Door, Header, Hello, Identity, Kind, message_id
from dadmsd.bus.core.bus import Bus
from dadmsd.bus.core.disk import Durable, Kept, NotKept, OnDisk
from dadmsd.bus.core.events import (
    Audit,
    Body,
    Cut,
    Effect,
    Event,
    Forget,
    Grant,
    LinkLost,
    LinkOpened,
    LinkReceived,
    Peer,
    Received,
    Resumed,
    Ticked,
    ToKernel,
    Transmit,
    Who,
    content,
)
from dadmsd.bus.core.offers import Offerers
from dadmsd.bus.core.state import Bounds
from dadmsd.kernel import link
from tests.unit.bus.disk import Disk

ROLES = {0: "admin", 1000: "admin", 1001: "operate", 1002: "observe"}
BUS = b"B" * 16


WALL = 1_700_000_000.0  # of the clock's zero


class Guest:
    """One connection of a client, and what it was told over it."""

    def __init__(self, room: "Room", door: Door, number: int, client: bytes, uid: int) -> None:
        self.room, self.client, self.uid = room, client, uid
        self.peer = Peer(door, b"\0" + number.to_bytes(4, "big"))
        self.heard: list[tuple[Header, bytes]] = []
        self.sequence = number * 1000
        self.is_cut = False
        self.pings = 0
        self.who: Who | None = None  # instead of the uid alone

    def frames(self, *frames: bytes, is_cut_short: bool = False) -> None:
        """Send frames as they are."""
        self.room.do(Received(self.peer, self.uid, 4242, list(frames), is_cut_short, self.who))

    def say(self, kind: int, body: bytes = b"", **fields: object) -> bytes:
        """Send an envelope; gives its id."""
        self.sequence += 1
        identifier = fields.pop("id", message_id(self.client, self.sequence))
        assert isinstance(identifier, bytes)
        self.frames(encode_header(Header(VERSION, kind, identifier, **fields)), body)  # type: ignore[arg-type]  # a test's own fields
        return identifier

    def hello(self, identity: Identity | None = None, *, credit: int = 100, service: str = "", receives: bool = True) -> "Guest":
        """Say hello."""
        proof = identity or Identity(0, 0, b"")
        hello = Hello(self.client, [VERSION], "", credit, proof.pid, proof.incarnation, proof.secret, service=service, receives=receives)
        self.say(Kind.HELLO, encode_body(hello))
        return self

    def take(self) -> list[tuple[Header, bytes]]:
        """Give what was heard since the last look."""
        heard, self.heard = self.heard, []
        return heard

    def kinds(self) -> list[Kind]:
        """Give the kinds of what was heard since the last look."""
        return [Kind(header.kind) for header, _ in self.take()]

    def only(self) -> tuple[Header, bytes]:
        """Give the one envelope that was heard since the last look."""
        (heard,) = self.take()
        return heard

    def reason(self) -> str:
        """Give the reason of the one refusal that was heard since the last look."""
        header, body = self.only()
        assert header.kind == Kind.REFUSE
        return trouble_of(body)


class Room:
    """The core with everything around it."""

    def __init__(
        self,
        *,
        has_roster: bool = True,
        groups: dict[int, str] | None = None,
        keys: dict[str, Grant] | None = None,
        doors: dict[str, int] | None = None,
        services: dict[str, Offerers] | None = None,
        disk: Disk | None = None,
        is_slow: bool = False,  # the disk, which then waits for `commit`
        **bounds: object,
    ) -> None:
        self.disk = disk or Disk()
        self.gathers = False  # whether what comes is the beginning of a turn
        self.is_slow = is_slow
        self.resumes = True  # batches go on at once
        limits = Bounds(**bounds)  # type: ignore[arg-type]  # a test's own bounds
        self.bus = Bus(
            BUS, roles=ROLES, groups=groups, keys=keys, doors=doors, bounds=limits, incarnation=3, os_pid=77, wall=WALL, services=services
        )
        self.now = 1000.0
        self.guests: dict[Peer, Guest] = {}
        self.asked: list[link.FromBus] = []
        self.audits: list[str] = []
        self.lines: list[Audit] = []
        self.forgotten: list[Peer] = []
        self.do(self.disk.restored())
        if has_roster:
            self.attach_kernel()
            self.asked.clear()

    def commit(self) -> None:
        """Let the disk write what waits for it."""
        if self.disk.waiting:
            self.do(Kept(self.disk.commit()))

    def refuse(self, reason: str = "it cannot be put on disk: full") -> None:
        """Let the disk be full."""
        self.do(NotKept(self.disk.refuse(), reason))

    def attach_kernel(self, *roster: link.Enrolled | link.Expected, epoch: int = 1) -> None:
        """Let a kernel come."""
        self.do(LinkOpened())
        self.hear(link.KernelHello("boot", "1"), epoch=epoch)
        for entry in roster:
            self.hear(entry, epoch=epoch)
        self.hear(link.RosterSent(len(roster)), epoch=epoch)

    def detach_kernel(self) -> None:
        """Let the kernel go."""
        self.do(LinkLost())

    def hear(self, message: link.FromKernel, *, epoch: int = 1) -> None:
        """Let the kernel say something."""
        self.do(LinkReceived(epoch, message))

    def guest(self, door: Door = Door.DATA, *, client: bytes | None = None, uid: int = 1000) -> Guest:
        """Let somebody connect."""
        number = len(self.guests) + 1
        guest = Guest(self, door, number, client or number.to_bytes(2, "big") * 8, uid)
        self.guests[guest.peer] = guest
        return guest

    def member(self, identity: Identity | None = None, *, door: Door = Door.DATA, uid: int = 1000, credit: int = 100) -> Guest:
        """Let somebody connect and say hello."""
        guest = self.guest(door, uid=uid).hello(identity, credit=credit)
        assert guest.kinds() == [Kind.WELCOME]
        return guest

    def identity(self, pid: int, incarnation: int = 1) -> Identity:
        """Make a process's proof."""
        return Identity(pid, incarnation, f"secret of {pid}.{incarnation}".encode())

    def entry(self, identity: Identity, *, uid: int = 2000) -> link.Enrolled:
        """Make a process's entry of the roster."""
        return link.Enrolled(identity.pid, identity.incarnation, "name", uid, hashlib.sha256(identity.secret).digest())

    def enroll(self, pid: int, incarnation: int = 1) -> Identity:
        """Let a process live."""
        identity = self.identity(pid, incarnation)
        self.hear(self.entry(identity))
        return identity

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with each deadline in its turn."""
        end = self.now + seconds
        while (deadline := self.bus.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.do(Ticked())
        self.now = end

    def do(self, event: Event) -> list[Effect]:
        """Let something happen, and the rules hold afterwards."""
        return self._happen(self.bus.handle(event, self.now, gathers=self.gathers))

    def release(self) -> list[Effect]:
        """End a turn in which messages were gathered."""
        return self._happen(self.bus.release(self.now))

    def _happen(self, effects: list[Effect]) -> list[Effect]:
        self.bus.check()
        for effect in effects:
            match effect:
                case Transmit(peer, header, body):
                    if header.kind == Kind.PING:
                        self.guests[peer].pings += 1
                    elif peer in self.guests:
                        self.guests[peer].heard.append((header, self.read(body)))
                case ToKernel(message):
                    self.asked.append(message)
                case Cut(peer, _):
                    self.guests[peer].is_cut = True
                case Forget(peer):
                    self.forgotten.append(peer)
                case Audit():
                    self.audits.append(effect.text)
                    self.lines.append(effect)
        self.disk.waiting += [effect for effect in effects if isinstance(effect, Durable)]
        if not self.is_slow:
            self.commit()
        for door in tuple(self.bus.rests) if self.resumes else ():
            effects += self.do(Resumed(door))
        return effects

    def read(self, body: Body) -> bytes:
        """Give a body as the shell sends it."""
        return body.prefix + self.disk.bodies[body.number] if isinstance(body, OnDisk) else content(body)

    def counter(self, name: str) -> int:
        """Give one of the counters."""
        return int(getattr(self.bus.outbox.counters, name))
