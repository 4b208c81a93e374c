"""Sessions, bus and kernel in one simulated world in which anything is lost or dies at any moment: what was asked is done once, and answered once.

The network loses nothing while a connection lives, and everything in flight when it ends; the bus forgets everything when it dies; the kernel remembers what it
did, and a process what it handled. These are the only assumptions of the protocol.
"""

from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from dadms_ipc.codec import encode_batch, encode_header
from dadms_ipc.envelope import OK, VERSION, Door, Header, Kind
from dadms_ipc.session import Session
from dadmsd.bus.core.bus import Bus
from dadmsd.bus.core.events import (
    Cut,
    Effect,
    Event,
    Forget,
    LinkLost,
    LinkOpened,
    LinkReceived,
    Peer,
    Received,
    Resumed,
    Ticked,
    ToKernel,
    Transmit,
    Vanished,
    content,
)
from dadmsd.bus.core.state import Bounds
from dadmsd.kernel import link
from tests.unit.bus.room import ROLES, Room

CLIENTS, PROCESSES = 2, (1001, 1002)
DEADLINE = 1e9  # nothing expires in these walks


class Wire:
    """One connection: what is on its way in each direction."""

    def __init__(self, route: bytes) -> None:
        self.route = route
        self.up: deque[list[bytes]] = deque([[b""]])  # PROBE_ROUTER's message
        self.down: deque[list[bytes]] = deque()


class World:
    """Everything, and the clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.routes = 0
        self.epoch = 0
        self.journal: dict[tuple[bytes, int], int] = {}  # what the kernel did, and how
        self.is_linked = False
        self.to_kernel: deque[link.FromBus] = deque()
        self.secrets = Room(has_roster=False)
        self.sessions = [Session(bytes([65 + number]) * 16) for number in range(CLIENTS)]
        self.sessions += [
            Session(bytes([97 + number]) * 16, identity=self.secrets.identity(pid), window=4) for number, pid in enumerate(PROCESSES)
        ]
        self.wires: dict[tuple[int, Door], Wire] = {}
        self.handled: list[tuple[int, bytes]] = []  # process, body
        self.asked: dict[tuple[int, int], bytes | None] = {}  # session, sequence -> body; None: a call
        self.answers: list[tuple[int, int, str, bytes]] = []
        for session in self.sessions:
            for door in Door:
                session.open(door)
        self.bus = self._fresh_bus()
        self.restart_kernel()

    def _fresh_bus(self) -> Bus:
        for index in range(len(self.sessions)):
            for door in Door:
                self.connect(index, door)
        return Bus(bytes(16), roles=ROLES, bounds=Bounds())

    def connect(self, index: int, door: Door) -> None:
        """Connect anew: whatever was in flight is lost."""
        self.routes += 1
        self.wires[index, door] = Wire(b"\0" + self.routes.to_bytes(4, "big"))

    # what may happen

    def ask(self, index: int, what: int) -> None:
        """Let a client ask the kernel, or send something to a process."""
        session = self.sessions[index % CLIENTS]
        kind = (Kind.CALL, Kind.SEND, Kind.REQUEST)[what % 3]
        to = "kernel" if kind == Kind.CALL else str(PROCESSES[what % len(PROCESSES)])
        number = len(self.asked)
        body = b"\x01" if kind == Kind.CALL else f"{index % CLIENTS} {number}".encode()
        sequence = session.ask(kind, body, to=to, topic="t", deadline=DEADLINE)
        self.asked[index % CLIENTS, sequence] = None if kind == Kind.CALL else body

    def send(self, index: int, door: Door) -> bool:
        """Let a socket take one message of a session."""
        session = self.sessions[index]
        frames = session.frames_to_send(door, self.now)
        if frames is None:
            return False
        session.sent(door)
        self.wires[index, door].up.append(frames)
        return True

    def up(self, index: int, door: Door) -> bool:
        """Let one message reach the bus."""
        wire = self.wires[index, door]
        if not wire.up:
            return False
        self.happen(Received(Peer(door, wire.route), 1000, index, wire.up.popleft()))
        return True

    def down(self, index: int, door: Door) -> bool:
        """Let one message reach its session."""
        wire, session = self.wires[index, door], self.sessions[index]
        if not wire.down:
            return False
        for sequence in session.handle(door, wire.down.popleft(), self.now):
            answer = session.take(sequence)
            assert answer is not None
            self.answers.append((index, sequence, answer.status, answer.body))
        return True

    def work(self, index: int) -> bool:
        """Let a process handle one message."""
        session = self.sessions[CLIENTS + index % len(PROCESSES)]
        message = session.receive(self.now)
        if message is None:
            return False
        self.handled.append((index % len(PROCESSES), message.body))
        session.respond(message, OK, message.body if message.kind == Kind.REQUEST else b"")
        return True

    def decide(self) -> bool:
        """Let the kernel take one message."""
        if not self.is_linked or not self.to_kernel:
            return False
        message = self.to_kernel.popleft()
        if isinstance(message, link.Request):
            did = self.journal.setdefault((message.client, message.sequence), len(self.journal))
            reply = link.Reply(message.client, message.sequence, OK, msgspec.Raw(bytes([did % 128])))
            self.happen(LinkReceived(self.epoch, reply))
        return True

    def kill_bus(self) -> None:
        """Lose everything that the bus knew and all that was in flight."""
        self.bus = self._fresh_bus()
        self.to_kernel.clear()
        if self.is_linked:
            self.greet()

    def kill_kernel(self) -> None:
        """Lose the link and what is on it; the journal stays."""
        if self.is_linked:
            self.is_linked = False
            self.to_kernel.clear()
            self.happen(LinkLost())

    def restart_kernel(self) -> None:
        """Let the next kernel come."""
        self.kill_kernel()
        self.epoch += 1
        self.greet()

    def greet(self) -> None:
        """Begin a link."""
        self.is_linked = True
        self.happen(LinkOpened())
        entries = [self.secrets.entry(self.secrets.identity(pid)) for pid in PROCESSES]
        roster: list[link.FromKernel] = [link.KernelHello("boot", "1"), *entries, link.RosterSent(len(entries))]
        for message in roster:
            self.happen(LinkReceived(self.epoch, message))

    def cut(self, index: int, door: Door) -> None:
        """Lose one connection; the bus may notice at once, later, or only by the next hello."""
        old = Peer(door, self.wires[index, door].route)
        self.connect(index, door)
        if index % 2:
            self.happen(Vanished(old, is_gone=True))

    def happen(self, event: Event) -> None:
        """Let the bus decide, and do it; the rules hold afterwards."""
        effects = self.bus.handle(event, self.now, gathers=isinstance(event, Received))
        while self.bus.rests:
            effects += self.bus.handle(Resumed(next(iter(self.bus.rests))), self.now)
        self._perform(effects)

    def release(self) -> bool:
        """Let the bus end a turn, in which SENDs may have waited for each other."""
        effects = self.bus.release(self.now)
        self._perform(effects)
        return bool(effects)

    def _perform(self, effects: list[Effect]) -> None:
        self.bus.check()
        waiting: dict[Peer, list[tuple[Header, bytes]]] = {}
        for effect in effects:
            self._do(effect, waiting)
        for peer, envelopes in waiting.items():
            for wire_of, wire in self.wires.items():
                if wire_of[1] == peer.door and wire.route == peer.route:
                    if len(envelopes) == 1:
                        wire.down.append([encode_header(envelopes[0][0]), envelopes[0][1]])
                    else:
                        wire.down.append([encode_header(Header(VERSION, Kind.BATCH)), encode_batch(envelopes)])

    def _do(self, effect: Effect, waiting: dict[Peer, list[tuple[Header, bytes]]]) -> None:
        match effect:
            case Transmit(peer, header, body):
                waiting.setdefault(peer, []).append((header, content(body)))
            case ToKernel(message) if self.is_linked:
                self.to_kernel.append(message)
            case Cut(_, reason):
                raise AssertionError(f"nobody is to blame here: {reason}")
            case Forget() | ToKernel() | _:
                pass

    def _moves(self) -> list[Callable[[], bool]]:
        """Give everything that may go on by itself."""
        places = [(index, door) for index in range(len(self.sessions)) for door in Door]
        moves = [partial(step, *place) for place in places for step in (self.send, self.up, self.down)]
        return [*moves, *(partial(self.work, index) for index in range(len(PROCESSES))), self.decide, self.release]

    def go(self, chance: Random, count: int) -> None:
        """Let so many things go on, in any order: walks that stop here leave something in flight."""
        moves = self._moves()
        while count and moves:
            move = chance.choice(moves)
            if move():
                count -= 1
                moves = self._moves()
            else:
                moves.remove(move)

    def settle(self) -> None:
        """Let everything go on until nothing is left to do."""
        if not self.is_linked:
            self.restart_kernel()
        for _ in range(1000):
            moved = [move() for move in self._moves()]  # all of them, not up to the first
            if not any(moved):
                return
        raise AssertionError("it never comes to rest")


ask = st.tuples(st.just("ask"), st.integers(0, CLIENTS - 1), st.integers(0, 5))
go = st.tuples(st.just("go"), st.randoms(use_true_random=False), st.integers(1, 30))
fault = st.one_of(
    st.tuples(st.sampled_from(["kill_bus", "kill_kernel", "restart_kernel"])),
    st.tuples(st.just("cut"), st.integers(0, CLIENTS + len(PROCESSES) - 1), st.sampled_from(Door)),
    st.tuples(st.just("cut"), st.integers(CLIENTS, CLIENTS + len(PROCESSES) - 1), st.just(Door.DATA)),
)
steps = st.one_of(ask, ask, ask, go, go, fault)


@settings(max_examples=400, deadline=None)
@given(st.lists(steps, max_size=30))
def test_what_was_asked_is_done_once_and_answered_once(walk: list[tuple[object, ...]]) -> None:
    """Whatever dies meanwhile; in the order of each sender."""
    world = World()
    world.settle()
    for name, *arguments in walk:
        getattr(world, str(name))(*arguments)
    world.settle()
    assert all(not session.violations for session in world.sessions)
    answered = Counter((index, sequence) for index, sequence, _, _ in world.answers)
    assert answered == Counter(world.asked.keys()), "each question has one answer"
    assert {status for _, _, status, _ in world.answers} <= {OK}
    calls = {(world.sessions[index].client, sequence) for (index, sequence), body in world.asked.items() if body is None}
    assert set(world.journal) == calls
    for index, sequence, _, body in world.answers:
        if world.asked[index, sequence] is None:
            assert body == bytes([world.journal[world.sessions[index].client, sequence] % 128]), (
                "a call is answered with what was done for it"
            )
    sent = [body for body in world.asked.values() if body is not None]
    assert sorted(body for _, body in world.handled) == sorted(sent), "each message is handled once"
    for sender in range(CLIENTS):
        for process in range(len(PROCESSES)):
            numbers = [int(body.split()[1]) for by, body in world.handled if by == process and body.startswith(b"%d " % sender)]
            assert numbers == sorted(numbers), "in the order of their sender"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(ask, fault, st.tuples(st.just("settle"))), max_size=20))
def test_the_same_events_have_the_same_effects(walk: list[tuple[object, ...]]) -> None:
    """Nothing inside looks at a clock, a socket or a die."""
    worlds = (World(), World())
    for name, *arguments in walk:
        for world in worlds:
            getattr(world, str(name))(*arguments)
            world.now += 1.0
            world.happen(Ticked())
    one, two = worlds
    assert (one.answers, one.handled, list(one.to_kernel)) == (two.answers, two.handled, list(two.to_kernel))
    assert {place: (list(wire.up), list(wire.down)) for place, wire in one.wires.items()} == {
        place: (list(wire.up), list(wire.down)) for place, wire in two.wires.items()
    }
    assert one.bus.status() == two.bus.status()
