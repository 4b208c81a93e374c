"""The same world with a disk and processes that die: whatever crashes between any two events, what was acknowledged has one outcome, in the order of its sender.

The bus loses everything but what the disk had committed; a process that dies forgets what it handled, and its next incarnation comes later; the disk commits when it
likes, and may be full. The disk is the model: its rows, letters and tallies are counted by other code than the bus's, and both must agree.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from random import Random

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dadms_ipc.envelope import HOST, OK, REFUSED, STORED, Door, Header, Kind
from dadms_ipc.session import Session
from dadmsd.bus.core.bus import Bus
from dadmsd.bus.core.disk import Durable, Kept, NotKept, OnDisk
from dadmsd.bus.core.events import Effect, LinkOpened, LinkReceived, Peer, Ticked, Transmit, Vanished, content
from dadmsd.bus.core.state import Bounds
from dadmsd.kernel import link
from tests.property.bus.test_walks import CLIENTS, PROCESSES, World
from tests.unit.bus.disk import Disk
from tests.unit.bus.room import ROLES

TICK = 0.4  # seconds
ROUNDS = 600  # of settling: a message is tried for a while


class KeptWorld(World):
    """A world whose bus has a disk, and whose processes die and come again."""

    def __init__(self, **bounds: object) -> None:
        self.bounds = Bounds(memory=2, backoff_last=0.5, patience=0.3, sweep_interval=0.01, **bounds)  # type: ignore[arg-type]  # a test's own bounds
        self.disk = Disk()
        self.incarnations = dict.fromkeys(PROCESSES, 1)
        self.is_dead = dict.fromkeys(PROCESSES, False)
        self.seen: defaultdict[bytes, list[tuple[int, int, bool]]] = defaultdict(list)  # body -> process, incarnation, is a retry
        self.sends: dict[bytes, tuple[int, int]] = {}  # body -> session, sequence
        self.first: defaultdict[tuple[bytes, int], list[int]] = defaultdict(list)  # sender, process -> numbers of SENDs as first handled
        super().__init__()

    def _fresh_bus(self) -> Bus:
        for index in range(len(self.sessions)):
            for door in Door:
                self.connect(index, door)
        bus = Bus(bytes(16), roles=ROLES, bounds=self.bounds)
        bus.handle(self.disk.restored(), self.now)
        return bus

    def greet(self) -> None:
        """Begin a link."""
        self.is_linked = True
        self.happen(LinkOpened())
        self.say(link.KernelHello("boot", "1"))
        for pid in PROCESSES:
            self.say(
                link.Expected(pid, "name") if self.is_dead[pid] else self.secrets.entry(self.secrets.identity(pid, self.incarnations[pid]))
            )
        self.say(link.RosterSent(len(PROCESSES)))

    def say(self, message: link.FromKernel) -> None:
        """Let the kernel say something, if there is one."""
        if self.is_linked:
            self.happen(LinkReceived(self.epoch, message))

    # what may happen besides

    def ask(self, index: int, what: int) -> None:
        """Let a client ask."""
        super().ask(index, what)
        if what % 3 == 1:
            (place, body), *_ = [(place, body) for place, body in reversed(self.asked.items())]
            assert body is not None
            self.sends[body] = place

    def work(self, index: int) -> bool:
        """Let a process handle one message."""
        pid = PROCESSES[index % len(PROCESSES)]
        session = self.sessions[CLIENTS + index % len(PROCESSES)]
        message = session.receive(self.now)
        if message is None:
            return False
        if message.body in self.sends and message.body not in self.seen:
            sender, number = message.body.split()
            self.first[sender, pid].append(int(number))
        self.seen[message.body].append((pid, self.incarnations[pid], message.is_retry))
        session.respond(message, OK, message.body if message.kind == Kind.REQUEST else b"")
        return True

    def send(self, index: int, door: Door) -> bool:
        """Let a socket take one message of a session; the dead say nothing."""
        if index >= CLIENTS and self.is_dead[PROCESSES[index - CLIENTS]]:
            return False
        return super().send(index, door)

    def kill_process(self, index: int) -> None:
        """Let a process die, with all that it knew; the kernel says that another incarnation follows."""
        pid = PROCESSES[index % len(PROCESSES)]
        if self.is_dead[pid]:
            return
        self.is_dead[pid] = True
        place = CLIENTS + index % len(PROCESSES)
        for door in Door:
            old = Peer(door, self.wires[place, door].route)
            self.connect(place, door)
            self.happen(Vanished(old, is_gone=True, is_dead=True))
        self.say(link.Discharged(pid, self.incarnations[pid], returns=True))
        self.incarnations[pid] += 1
        self.sessions[place] = Session(
            bytes([97 + pid % 16]) * 15 + bytes([self.incarnations[pid]]),
            identity=self.secrets.identity(pid, self.incarnations[pid]),
            window=4,
        )
        for door in Door:
            self.sessions[place].open(door)

    def revive(self, index: int) -> None:
        """Let the next incarnation come."""
        pid = PROCESSES[index % len(PROCESSES)]
        if self.is_dead[pid] and self.is_linked:
            self.is_dead[pid] = False
            self.say(self.secrets.entry(self.secrets.identity(pid, self.incarnations[pid])))

    def miss(self, index: int, chance: Random) -> None:
        """Let a process be away while somebody sends to it, so that the disk has it, and come back."""
        self.kill_process(index)
        for number in range(3):
            self.ask(chance.randrange(CLIENTS), (1, 4)[index % 2])
            self.go(chance, 4 + 4 * number)
        self.tick()
        self.commit()
        self.revive(index)

    def lose_both(self, index: int) -> None:
        """Let a process and the bus die together: nobody knows any more what it had in its hands."""
        self.kill_process(index)
        self.kill_bus()
        self.revive(index)

    def commit(self) -> bool:
        """Let the disk write."""
        if not self.disk.waiting:
            return False
        self.happen(Kept(self.disk.commit()))
        return True

    def fill_disk(self) -> None:
        """Let the disk be full for one turn."""
        if self.disk.waiting:
            self.happen(NotKept(self.disk.refuse(), "full"))

    def tick(self) -> None:
        """Let time pass."""
        self.now += TICK
        deadline = self.bus.next_deadline()
        if deadline is not None and deadline <= self.now:
            self.happen(Ticked())

    def _do(self, effect: Effect, waiting: dict[Peer, list[tuple[Header, bytes]]]) -> None:
        if isinstance(effect, Durable):
            self.disk.waiting.append(effect)
        elif isinstance(effect, Transmit):
            body = effect.body
            read = self.disk.bodies[body.number] if isinstance(body, OnDisk) else content(body)
            waiting.setdefault(effect.peer, []).append((effect.header, read))
        else:
            super()._do(effect, waiting)

    def _moves(self) -> list[Callable[[], bool]]:
        return [*super()._moves(), self.commit]

    def settle(self) -> None:
        """Let everything go on, with everybody alive, until nothing is left to do."""
        if not self.is_linked:
            self.restart_kernel()
        for index in range(len(PROCESSES)):
            self.revive(index)
        for _ in range(ROUNDS):
            while sum(move() for move in self._moves()):  # all of them, not up to the first
                pass
            if not (self.bus.keeping.rows or self.bus.exchanges.open or self.disk.waiting):
                return
            self.tick()
        raise AssertionError(f"it never comes to rest: {self.bus.status()}")

    def agree(self) -> None:
        """Compare what the bus counts with what is on the disk."""
        outcomes = self.bus.status()["outcomes"]
        assert isinstance(outcomes, dict)
        assert {name: count for name, count in outcomes.items() if count} == {
            name: count for name, count in self.disk.tallies.items() if count
        }
        assert {exchange.number for exchange in self.bus.keeping.rows.values()} == set(self.disk.rows)
        assert list(self.bus.letters.letters) == [
            letter.number for letter in sorted(self.disk.letters.values(), key=lambda one: one.died_at)
        ]


places = st.integers(0, CLIENTS + len(PROCESSES) - 1)
processes = st.integers(0, len(PROCESSES) - 1)
ask = st.tuples(st.just("ask"), st.integers(0, CLIENTS - 1), st.sampled_from([1, 4, 1, 4, 1, 2, 0]))
go = st.tuples(st.just("go"), st.randoms(use_true_random=False), st.integers(1, 40))
chances = st.randoms(use_true_random=False)
fault = st.one_of(
    st.tuples(st.just("miss"), processes, chances),
    st.tuples(st.just("lose_both"), processes),
    st.tuples(st.sampled_from(["kill_bus", "kill_kernel", "restart_kernel", "tick", "tick", "fill_disk"])),
    st.tuples(st.sampled_from(["kill_process", "kill_process", "revive"]), processes),
    st.tuples(st.just("cut"), places, st.sampled_from(Door)),
)
steps = st.one_of(ask, ask, ask, go, go, fault, fault)


ONLY_GENERATE = [Phase.generate]  # making a walk that fails shorter takes minutes


def _walk(world: KeptWorld, walk: list[tuple[object, ...]]) -> None:
    world.settle()
    for name, *arguments in walk:
        getattr(world, str(name))(*arguments)
    world.settle()
    world.agree()


def _hold(world: KeptWorld, *refusals: str) -> set[bytes]:
    """Assert what holds after every walk; gives the bodies of what was acknowledged."""
    allowed = {OK, STORED, *refusals}
    told = Counter((index, sequence) for index, sequence, _, _ in world.answers)
    assert told == Counter(world.asked.keys()), "each question has one answer"
    status = {(index, sequence): status for index, sequence, status, _ in world.answers}
    acknowledged = {body for body, place in world.sends.items() if status[place] in (OK, STORED)}
    assert {one for place, one in status.items() if world.asked[place] is not None} <= allowed
    assert {body for body, place in world.sends.items() if status[place] == OK} <= set(world.seen)
    for times in world.seen.values():
        assert len({time[:2] for time in times}) == len(times), "at most once in an incarnation"
        assert all(is_retry for _, _, is_retry in times[1:]), "and marked in a later one"
    for numbers in world.first.values():
        assert numbers == sorted(numbers), "in the order of its sender"
    return acknowledged


@settings(max_examples=200, deadline=None, phases=ONLY_GENERATE)
@given(st.lists(steps, max_size=40))
def test_what_was_acknowledged_is_handled_whatever_dies(walk: list[tuple[object, ...]]) -> None:
    """With so many attempts that none is the last."""
    world = KeptWorld(retries=10_000)
    _walk(world, walk)
    assert _hold(world, HOST) <= set(world.seen)
    assert world.disk.letters == {}


@settings(max_examples=200, deadline=None, phases=ONLY_GENERATE)
@given(st.lists(steps, max_size=40))
def test_what_was_acknowledged_is_handled_or_a_dead_letter(walk: list[tuple[object, ...]]) -> None:
    """With one attempt: what was in the hands of a process that died is a dead letter."""
    world = KeptWorld(retries=0)
    _walk(world, walk)
    dead = {world.disk.bodies[number] for number in world.disk.letters}
    assert _hold(world, HOST, REFUSED) <= set(world.seen) | dead


@settings(max_examples=100, deadline=None)
@given(st.lists(steps, max_size=30))
def test_the_same_events_have_the_same_effects_with_a_disk(walk: list[tuple[object, ...]]) -> None:
    """Pauses and ids of copies included."""
    worlds = (KeptWorld(retries=2), KeptWorld(retries=2))
    for name, *arguments in walk:
        for world in worlds:
            again = [Random(0) if isinstance(argument, Random) else argument for argument in arguments]
            getattr(world, str(name))(*again)
            world.tick()
    one, two = worlds
    assert (one.seen, one.answers, one.disk.rows, one.disk.letters) == (two.seen, two.answers, two.disk.rows, two.disk.letters)
    assert one.bus.status() == two.bus.status()
