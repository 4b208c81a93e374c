"""Wrong messages said to the bus's core itself, so that each of them is read: the shell soon stops to listen to a connection that says nothing else.

No message may raise, whatever is decided about it can be encoded, and the core's own rules hold.
"""

import random
import time
from dataclasses import dataclass

from dadms_ipc.codec import encode_body, encode_header
from dadms_ipc.envelope import VERSION, Door, Header, Hello, Kind, message_id
from dadmsd.bus.core.bus import Bus
from dadmsd.bus.core.events import Cut, LinkOpened, LinkReceived, Peer, Received, Resumed, Ticked, Transmit, Vanished
from dadmsd.kernel import link
from tests.fuzz.frames import message

CONNECTIONS = 16  # half of them with a session
STEP = 0.001  # seconds between two messages
CHECKED = 1000  # messages between two looks at the core's rules
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
        for event in (LinkOpened(), LinkReceived(1, link.KernelHello("boot", "1")), LinkReceived(1, link.RosterSent(0))):
            self.bus.handle(event, self.now)
        self._made = 0
        self._peers = [self._connect(number) for number in range(CONNECTIONS)]

    def _connect(self, number: int) -> tuple[Peer, int]:
        """Make a connection; gives it and whose it is."""
        self._made += 1
        peer, pid = Peer(Door(number % 2), b"\0" + self._made.to_bytes(4, "big")), 1000 + self._made // OTHERS
        if number % 4 > 1:
            client = bytes([200 + number]) * 16
            hello = encode_body(Hello(client, [VERSION], "fuzz", 1000))
            self._do(Received(peer, 0, pid, [encode_header(Header(VERSION, Kind.HELLO, message_id(client, 1))), hello]))
        return peer, pid

    def say(self, count: int) -> None:
        """Have a connection say a wrong message."""
        number = count % CONNECTIONS
        peer, pid = self._peers[number]
        frames = message(self.chance)
        if self._do(Received(peer, 0, pid, frames[:2], len(frames) > 2)):
            self._peers[number] = self._connect(number)
        self.now += STEP
        deadline = self.bus.next_deadline()
        if deadline is not None and deadline <= self.now:
            self._do(Ticked())
        if not count % CHECKED:
            self.bus.check()

    def _do(self, event: Received | Resumed | Ticked | Vanished) -> bool:
        """Let something happen; tells whether it cut the connection of ``event``."""
        is_cut = False
        for effect in self.bus.handle(event, self.now):
            if isinstance(effect, Transmit):
                encode_header(effect.header)
            elif isinstance(effect, Cut):
                is_cut = is_cut or (isinstance(event, Received) and effect.peer == event.peer)
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
