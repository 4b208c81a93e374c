"""Wrong messages said to the bus's core itself, so that each of them is read: the shell soon stops to listen to a connection that says nothing else.

No message may raise, whatever is decided about it can be encoded, and the core's own rules hold.
"""

import hashlib
import random
import time
from collections import deque
from dataclasses import dataclass

from dadms_ipc.codec import encode_body, encode_header
from dadms_ipc.envelope import VERSION, Door, Header, Hello, Kind, message_id
from dadmsd.bus.core.bus import Bus
from dadmsd.bus.core.disk import Durable, Kept, NotKept
from dadmsd.bus.core.events import Cut, Event, LinkOpened, LinkReceived, Peer, Received, Resumed, Ticked, Transmit, Vanished
from dadmsd.kernel import link
from tests.fuzz.frames import message, within
from tests.unit.bus.disk import Disk

CONNECTIONS = 16  # half of them with a session
STEP = 0.001  # seconds between two messages
CHECKED = 1000  # messages between two looks at the core's rules
WITHIN = 0.5  # of what a session says is of the right form: it alone gets as far as the exchanges, runs and letters
GIVEN = 64  # ids of what was delivered last: what is answered is often one of these
GOES = 0.005  # of the steps: the connection ends, and comes back
FULL = 0.01  # of the times that something is to be kept: there is no room
SECRET = bytes(range(32))
LIVES, COMES = 1001, 1002  # a process that lives and may have no session, and one that is awaited: what is for them goes to disk
LATER = 0.02  # of the steps: seconds pass, and with them attempts and expiries
OTHERS = 50  # messages of one process: the next has another number, and is nobody's heir


@dataclass
class Reading:
    """What came of it."""

    read: int = 0
    seconds: float = 0.0
    violations: int = 0
    refused: int = 0
    cut: int = 0


class _Reader:
    """A core, and connections that are replaced when they are cut."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = 1000.0
        self.bus = Bus(b"B" * 16, roles={0: "admin"})
        self._disk = Disk()
        self._given: deque[bytes] = deque(maxlen=GIVEN)
        for event in (
            self._disk.restored(),
            LinkOpened(),
            LinkReceived(1, link.KernelHello("boot", "1")),
            LinkReceived(1, link.Enrolled(LIVES, 1, "lives", 0, hashlib.sha256(SECRET).digest(), "g")),
            LinkReceived(1, link.Expected(COMES, "comes", "g", LIVES)),
            LinkReceived(1, link.RosterSent(1)),
        ):
            self._do(event)
        self._made = 0
        self._sequences: dict[bytes, int] = {}
        self._peers = [self._connect(number) for number in range(CONNECTIONS)]

    def _connect(self, number: int) -> tuple[Peer, int, bytes]:
        """Make a connection; gives it, whose it is, and the client of its session."""
        self._made += 1
        peer, pid = Peer(Door(number % 2), b"\0" + self._made.to_bytes(4, "big")), 1000 + self._made // OTHERS
        client = bytes([200 + number - number % 2]) * 16 if number % 4 > 1 else b""  # one for two connections, each at a door
        if client:
            proof = (LIVES, 1, SECRET) if number == CONNECTIONS - 1 else (0, 0, b"")
            client = bytes([200 + number]) * 16 if proof[0] else client
            hello = encode_body(Hello(client, [VERSION], "fuzz", 1000, *proof, runs=number % 8 > 3, spans=number % 8 > 5))
            self._do(Received(peer, 0, pid, [encode_header(Header(VERSION, Kind.HELLO, message_id(client, 1))), hello]))
        return peer, pid, client

    def say(self, count: int) -> None:
        """Have a connection say a wrong message."""
        number = count % CONNECTIONS
        peer, pid, client = self._peers[number]
        if client and self.chance.random() < WITHIN:
            sequence = self._sequences[client] = self._sequences.get(client, 1) + 1
            frames = within(self.chance, client, sequence, [*self.bus.admission.by_address, str(COMES), "nobody"], self._given)
        else:
            frames = message(self.chance)
        if self._do(Received(peer, 0, pid, frames[:2], len(frames) > 2)):
            self._peers[number] = self._connect(number)
        self.now += self.chance.uniform(0.1, 3.0) if self.chance.random() < LATER else STEP
        if self.chance.random() < GOES:
            self._do(Vanished(self._peers[number][0], True))
            self._peers[number] = self._connect(number)
        deadline = self.bus.next_deadline()
        if deadline is not None and deadline <= self.now:
            self._do(Ticked())
        if not count % CHECKED:
            self.bus.check()

    def _do(self, event: Event) -> bool:
        """Let something happen; tells whether it cut the connection of ``event``."""
        is_cut = False
        for effect in self.bus.handle(event, self.now):
            if isinstance(effect, Transmit):
                encode_header(effect.header)
                if effect.header.kind in (Kind.SEND, Kind.REQUEST, Kind.RUN):
                    self._given.append(effect.header.id)
            elif isinstance(effect, Durable):
                self._disk.waiting.append(effect)
            elif isinstance(effect, Cut):
                is_cut = is_cut or (isinstance(event, Received) and effect.peer == event.peer)
        if self._disk.waiting:
            is_full = self.chance.random() < FULL
            self._do(NotKept(self._disk.refuse(), "the disk is full") if is_full else Kept(self._disk.commit()))
        for door in tuple(self.bus.rests):
            is_cut = self._do(Resumed(door)) or is_cut
        return is_cut


def read(seed: int, messages: int) -> Reading:
    """Say so many."""
    reader, began = _Reader(seed), time.monotonic()
    for count in range(messages):
        reader.say(count)
    reader.bus.check()
    counters = reader.bus.outbox.counters
    return Reading(messages, time.monotonic() - began, counters.violations, counters.refused, counters.cut)
