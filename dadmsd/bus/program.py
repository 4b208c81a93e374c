"""The bus's loop: one epoll over both doors, the keeper, and the kernel; it moves frames and performs what the core decided.

1. Control goes before data in each turn, and a turn takes a bounded number of messages from each. A turn is over as soon as the kernel has an answer, and that of the data door as soon as somebody waits at the control door.
2. Of a large batch a turn takes a slice: meanwhile that door waits, and nobody else.
3. The first message of a turn is answered before anybody looks for a second (that is the latency); what more there is gathers its effects, and messages for
   the same connection leave in one batch (that is the throughput).
4. A descriptor of the kernel's link is used only as long as it is the newest.
5. What must be on disk goes to the store's thread, which answers when it is; the loop reads bodies back, and never waits for a write.
"""

import contextlib
import os
import select
import signal
import socket
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from time import monotonic, time

import zmq

from dadms_ipc.channel import Channel, adopt
from dadms_ipc.codec import BATCH_BYTES, BATCH_HEADER, BATCHED_BODY, encode_batch, encode_header
from dadms_ipc.envelope import BATCH_LIMIT, BODY_LIMIT, CONTROL_BODY_LIMIT, Door, Header
from dadms_ipc.errors import ChannelClosed, HostFailure, PeerViolation
from dadms_ipc.paths import CONTROL_SOCKET, DATA_SOCKET
from dadmsd import config, roles
from dadmsd.bus.audit import AuditFile
from dadmsd.bus.core.bus import Bus
from dadmsd.bus.core.disk import Durable, OnDisk
from dadmsd.bus.core.events import (
    Audit,
    Body,
    Cut,
    Effect,
    Event,
    Forget,
    KeysChanged,
    LinkLost,
    LinkOpened,
    LinkReceived,
    LinkRecovered,
    Noted,
    Peer,
    Received,
    Resumed,
    Ticked,
    ToKernel,
    Transmit,
    Vanished,
)
from dadmsd.bus.core.state import Bounds
from dadmsd.bus.dates import Clock
from dadmsd.bus.doors import Router
from dadmsd.bus.network import IO_THREADS, Network
from dadmsd.bus.store import open_store
from dadmsd.bus.traffic import Traffic
from dadmsd.bus.watch import REMOVALS, Watch
from dadmsd.bus.weight import Weight
from dadmsd.keeper import messages as keeper
from dadmsd.kernel import link
from dadmsd.stderr import say

TURN = {Door.CONTROL: 64, Door.DATA: 256}  # messages a turn
TURN_SECONDS = {Door.CONTROL: 0.0005, Door.DATA: 0.002}  # of one turn: answers wait for its end; 256 ordinary messages take less
LOOK_EACH = 0.0002  # seconds between two looks whether somebody waits elsewhere: a message may be a batch, so they are not counted
AT_ONCE = (
    ToKernel,  # it gains nothing by waiting for others, and its sender waits for it
    Forget,  # of a connection that was cut: what it has said since would be a new one's first words
)
LINK_TURN = 256  # messages of the kernel a turn
REUNION = 1.0  # seconds: clients of a bus that died are back within tens of milliseconds, on a busy machine within hundreds
MODE = 0o600  # of the sockets: this user alone
MODE_OF_A_SYSTEM_DAEMON = 0o666  # its processes run as other users, prove who they are, and have to get as far as that; others are refused


class Program:
    """The bus as a process."""

    def __init__(self, keeper_channel: "Channel[keeper.FromKeeper]", welcome: keeper.Welcome, *, ceiling: int) -> None:
        settings = config.load(welcome.config)
        named = roles.resolve(settings, os.geteuid())
        self._audit_file = AuditFile(Path(welcome.state_dir) / "logs")
        for mistake in named.mistakes:
            self._write_down(Audit(f"a role was given to nobody: {mistake}"))
        bounds = Bounds(
            connections=2 * ceiling,
            queue=settings.message_bus.max_queue_size,
            attempt_timeout=settings.message_bus.message_timeout_ms / 1000.0,
            retries=settings.message_bus.retry_attempts,
            reunion=REUNION if welcome.incarnation > 1 else 0.0,
        )
        clock = Clock(welcome.boot_id, time() - monotonic())
        self._bus = Bus(
            os.urandom(16),
            doors={"data": settings.network.data_port},
            roles=named.users,
            groups=named.groups,
            services=named.services,
            bounds=bounds,
            incarnation=welcome.incarnation,
            os_pid=os.getpid(),
            wall=clock.ahead,
        )
        self._durables: list[Durable] = []
        self._gathered: dict[Peer, list[tuple[Header, Body]]] = {}
        self._chores_at: float | None = None  # when there is something to do at the doors though nobody says so; None: never
        self._store, line = open_store(Path(welcome.state_dir), settled_most=bounds.settled, clock=clock)
        if line:
            say(f"bus: {line}")
        self._keeper = keeper_channel
        self._link: Channel[link.FromKernel] | None = None
        self._answers = select.poll()  # the link alone
        self._has_overflowed = False
        self._epoch = welcome.epoch
        self._is_stopping = False
        directory = Path(welcome.runtime_dir)
        mode = MODE if welcome.is_private or os.geteuid() != 0 else MODE_OF_A_SYSTEM_DAEMON
        mode = int(settings.access.socket_mode, 8) if settings.access.socket_mode else mode
        has_network = settings.network.enabled
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=IO_THREADS if has_network else 2)
        self._routers = (
            Router(self._context, Door.CONTROL, directory / CONTROL_SOCKET, body_limit=CONTROL_BODY_LIMIT, ceiling=ceiling, mode=mode),
            Router(self._context, Door.DATA, directory / DATA_SOCKET, body_limit=BODY_LIMIT, ceiling=ceiling, mode=mode),
        )
        self._wake, wake = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        signal.set_wakeup_fd(wake.detach(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the keeper's terminal, the keeper's business
        self._epoll = select.epoll()
        self._traffic = Traffic(self._epoll)
        self._weight = Weight(self._routers, self._traffic)
        for router in self._routers:
            router.guests.watch = self._traffic.watch
        self._heard: dict[int, Callable[[int], None]] = {
            self._keeper.fileno(): self._hear_keeper,
            self._wake.fileno(): self._hear_signal,
            self._store.fileno(): self._hear_store,
            **{router.monitor.fileno(): partial(self._hear_monitor, router) for router in self._routers},
        }  # descriptor -> what to do when it is ready; the doors have their turn afterwards
        for fd in (*self._heard, *(router.fd for router in self._routers)):
            self._epoll.register(fd, select.EPOLLIN)
        for router in self._routers:  # libzmq signals only whom it has seen find nothing
            router.has_more()
        self._is_writing = False  # the link's descriptor is watched for writing, too
        if self._store.restored is not None:
            self._perform(self._bus.handle(self._store.restored, monotonic()))
        for router in self._routers:
            self._note(router.count())
        self._place: Watch | None = None
        try:
            self._place = Watch(directory, REMOVALS)
        except HostFailure as error:  # a user has 128 of them, unless the host says otherwise (inotify(7), max_user_instances)
            say(f"bus: does not see it when its sockets are removed: {error}")
        else:
            self._heard[self._place.fileno()] = self._hear_removal
            self._epoll.register(self._place.fileno(), select.EPOLLIN)
        self._network: Network | None = None
        if has_network:
            self._network = Network(self._context, self._routers, settings, Path(welcome.state_dir))
            self._read_keys(self._network)
            for fd, hear in (
                (self._network.watch.fileno(), partial(self._hear_watch, self._network)),
                (self._network.zap.fileno(), partial(self._hear_handshakes, self._network)),
            ):
                self._heard[fd] = hear
                self._epoll.register(fd, select.EPOLLIN)
                hear(0)  # libzmq signals only whom it has seen find nothing

    def _on_signal(self, *_: object) -> None:
        self._is_stopping = True

    def run(self) -> None:
        """Serve until the keeper says stop, or is gone."""
        try:
            with contextlib.suppress(ChannelClosed):  # a keeper that is gone is seen below, as the end of its channel
                self._keeper.send(keeper.Ready())
            while not self._is_stopping:
                self._turn()
        finally:
            if self._network is not None:
                self._network.close()
            if self._place is not None:
                self._place.close()
            self._traffic.close()
            self._store.close()
            for router in self._routers:
                router.close()
            self._context.term()

    def _turn(self) -> None:
        control, data = self._routers
        has_control, has_data = not control.is_quiet and control.has_more(), not data.is_quiet and data.has_more()
        deadline, upcoming = self._bus.next_deadline(), self._chores_at
        if has_control or has_data or control.is_stirred or data.is_stirred or self._bus.rests:
            timeout = 0.0
        else:
            if upcoming is None or (deadline is not None and deadline < upcoming):
                upcoming = deadline
            timeout = -1.0 if upcoming is None else max(0.0, upcoming - monotonic())
        happenings = self._epoll.poll(timeout)
        if self._weight.at is None and (happenings or has_control or has_data):
            self._stir()
        for fd, happened in happenings:
            if fd == data.fd:
                has_data = True
            elif fd == control.fd:
                has_control = True
            elif (hear := self._heard.get(fd)) is not None:
                hear(happened)
        if has_control or Door.CONTROL in self._bus.rests:
            self._serve(control)
        if has_data or Door.DATA in self._bus.rests:
            self._serve(data)
        now = monotonic()
        if control.is_stirred or data.is_stirred or (self._chores_at is not None and self._chores_at <= now):
            self._do_chores(now)
        if deadline is not None and deadline <= now:
            self._handle(Ticked(), now)

    def _stir(self) -> None:
        """Have a look at the memory follow what happened."""
        self._weight.stir(monotonic())
        if self._chores_at is None or (self._weight.at is not None and self._weight.at < self._chores_at):
            self._chores_at = self._weight.at

    def _do_chores(self, now: float) -> None:
        """Do at the doors what is not about a message that came, and note when there is more of it."""
        for router in self._routers:
            router.is_stirred = False
            for event in (*router.departures(), *router.catch_up(now)):
                self._handle(event, now)
            if router.is_due(now):
                self._note(router.execute(now))
        if self._weight.at is not None and self._weight.at <= now:
            self._note(self._weight.look(now, self._bus.accounts.pool.used))
        moments = (self._weight.at, *[moment for router in self._routers for moment in router.next_moments()])
        self._chores_at = min([moment for moment in moments if moment is not None], default=None)

    def _hear_signal(self, _happened: int) -> None:
        self._wake.recv(64)  # what it means was noted by its handler

    def _hear_removal(self, _happened: int) -> None:
        """End when somebody removed the sockets, which nobody can connect to any more: the next bus makes new ones."""
        if self._place is not None:
            self._place.drain()
        gone = next((router for router in self._routers if not router.is_there()), None)
        if gone is not None:
            raise HostFailure(f'"{gone.path}" was removed')

    def _hear_monitor(self, router: Router, _happened: int) -> None:
        self._note(router.count())

    # doors

    def _serve(self, router: Router) -> None:
        """Take messages from a door: the first is done with before the second is looked for."""
        rests = self._bus.rests
        message: Event | None = Resumed(router.door) if router.door in rests else router.receive()
        if message is None:
            return
        self._handle(message, monotonic())
        if router.door in rests or not router.has_more():
            return
        now = monotonic()
        end = now + TURN_SECONDS[router.door]
        effects: list[Effect] = []
        received: Received | None
        look = now + LOOK_EACH
        for _ in range(TURN[router.door]):
            moment = monotonic()
            if moment > end:
                break
            if moment > look:
                if self._is_wanted_elsewhere(router):
                    break
                look = moment + LOOK_EACH
            if (received := router.receive()) is None:
                break
            decided = self._bus.handle(received, now, gathers=True)
            if decided:
                effects += decided
                if type(decided[-1]) in AT_ONCE:
                    self._perform(effects)
                    effects = []
            if rests and router.door in rests:
                break
        effects += self._bus.release(now)
        if effects:
            self._perform(effects)

    def _is_wanted_elsewhere(self, router: Router) -> bool:
        """Tell whether somebody waits whom the turn of a door keeps: the kernel, or of the data door those at the other."""
        control = self._routers[0]
        return bool(self._link is not None and self._answers.poll(0)) or (router is not control and control.has_more())

    def _note(self, lines: Iterable[Audit]) -> None:
        for line in lines:
            self._handle(Noted(line), monotonic())

    def _handle(self, event: Event, now: float) -> None:
        self._perform(self._bus.handle(event, now))

    def _transmit(self, effect: Transmit) -> None:
        """Send what stands alone, which is what most turns have."""
        peer, body = effect.peer, effect.body
        if type(body) is OnDisk:
            read = self._read(body)
            if read is None:
                return
            body = read
        if not self._routers[peer.door].send(peer.route, encode_header(effect.header), body):
            self._perform(self._bus.handle(Vanished(peer, is_gone=False), monotonic()))

    def _perform(self, effects: Sequence[Effect]) -> None:
        """Do what the core decided; what goes to one connection goes together."""
        gathered = self._gathered
        if len(effects) == 1 and type(effect := effects[0]) is Transmit:
            self._transmit(effect)
            return
        for effect in effects:
            if type(effect) is Transmit:
                body = effect.body if type(effect.body) is not OnDisk else self._read(effect.body)
                if body is not None:
                    gathered.setdefault(effect.peer, []).append((effect.header, body))
            elif type(effect) is ToKernel:
                self._tell_kernel(effect.message)
            elif type(effect) is Audit:
                self._write_down(effect)
            elif isinstance(effect, Durable):
                self._durables.append(effect)
            else:
                self._flush()  # a last word goes out before its connection does
                if type(effect) is Cut:
                    self._routers[effect.peer.door].cut(effect.peer.route, monotonic(), effect.rest)
                elif type(effect) is Forget:
                    self._routers[effect.peer.door].forget(effect)
        self._flush()
        if self._durables:
            self._store.write(self._durables)
            self._durables = []

    def _read(self, body: OnDisk) -> bytes | None:
        """Read a body that is on disk; one that cannot be read is not sent, and its delivery fails in its time."""
        found = self._store.body(body.number)
        if found is None:
            say(f"bus: cannot read the body of message {body.number}")
            return None
        return body.prefix + found if body.prefix else found

    def _flush(self) -> None:
        while self._gathered:
            peer, envelopes = self._gathered.popitem()
            router = self._routers[peer.door]
            taken = True
            if len(envelopes) == 1:
                taken = router.send(peer.route, encode_header(envelopes[0][0]), envelopes[0][1])
            else:
                for header, body in _pack(envelopes):
                    taken = router.send(peer.route, header, body)
                    if not taken:
                        break
            if not taken:
                self._perform_later(self._bus.handle(Vanished(peer, is_gone=False), monotonic()))

    def _perform_later(self, effects: list[Effect]) -> None:
        """Do what follows from a failed send, within the flush that failed."""
        for effect in effects:
            if type(effect) is Transmit:
                body = effect.body if type(effect.body) is not OnDisk else self._read(effect.body)
                if body is not None:
                    self._gathered.setdefault(effect.peer, []).append((effect.header, body))
            elif type(effect) is ToKernel:
                self._tell_kernel(effect.message)
            elif type(effect) is Audit:
                self._write_down(effect)
            elif isinstance(effect, Durable):
                self._durables.append(effect)
            elif type(effect) is Cut:
                self._routers[effect.peer.door].cut(effect.peer.route, monotonic(), effect.rest)
            elif type(effect) is Forget:
                self._routers[effect.peer.door].forget(effect)

    def _write_down(self, *lines: Audit) -> None:
        for line in lines:
            self._audit_file.write(line)
            say(f"bus: {line.text}")

    # the network

    def _hear_watch(self, network: Network, _happened: int) -> None:
        """Look at the allow-list, as it has changed."""
        self._note(network.hear_changes())
        self._read_keys(network)

    def _read_keys(self, network: Network) -> None:
        self._note(network.read_keys())
        self._handle(KeysChanged(network.keys), monotonic())

    def _hear_handshakes(self, network: Network, _happened: int) -> None:
        self._note(network.answer_handshakes())

    # kernel

    def _tell_kernel(self, message: link.FromBus) -> None:
        if self._link is None:
            return
        try:
            self._link.send(message)
            self._watch_link()
        except ChannelClosed:
            self._lose_link()
        except PeerViolation:  # it has not read for thousands of frames; what is pending is said again when it has
            self._has_overflowed = True

    def _hear_kernel(self, happened: int) -> None:
        channel = self._link
        try:
            if happened & select.EPOLLOUT and channel is not None and channel.flush() and self._has_overflowed:
                self._has_overflowed = False
                self._handle(LinkRecovered(), monotonic())
            self._watch_link()
            for _ in range(LINK_TURN):
                if channel is None or channel is not self._link:
                    return
                try:
                    frame = channel.receive()
                except PeerViolation as error:
                    say(f"bus: dropped what the kernel said: {error}")
                    continue
                if frame is None:
                    return
                for fd in frame.fds:
                    os.close(fd)
                self._handle(LinkReceived(frame.epoch, frame.body), monotonic())
        except ChannelClosed:
            if channel is self._link:
                self._lose_link()

    def _watch_link(self) -> None:
        """Look for room on the link only while something waits for it."""
        if self._link is not None and self._link.waits_to_write != self._is_writing:
            self._is_writing = self._link.waits_to_write
            self._epoll.modify(self._link.fileno(), select.EPOLLIN | (select.EPOLLOUT if self._is_writing else 0))

    def _lose_link(self) -> None:
        if self._link is None:
            return
        self._epoll.unregister(self._link.fileno())
        self._answers.unregister(self._link.fileno())
        del self._heard[self._link.fileno()]
        self._link.close()
        self._link = None
        self._handle(LinkLost(), monotonic())

    # store

    def _hear_store(self, _happened: int) -> None:
        for event in self._store.events():
            self._handle(event, monotonic())

    # keeper

    def _hear_keeper(self, _happened: int) -> None:
        while not self._is_stopping:
            try:
                frame = self._keeper.receive()
            except PeerViolation as error:
                say(f"bus: dropped what the keeper said: {error}")
                continue
            except ChannelClosed:
                self._is_stopping = True
                return
            if frame is None:
                return
            if isinstance(frame.body, keeper.StopAsked):
                self._is_stopping = True
            elif isinstance(frame.body, keeper.Linked) and frame.body.server == "kernel" and frame.fds:
                self._lose_link()
                self._link = Channel(adopt(frame.fds.pop(0)), link.FromKernel, epoch=max(self._epoch, frame.epoch))
                self._heard[self._link.fileno()] = self._hear_kernel
                self._epoll.register(self._link.fileno(), select.EPOLLIN)
                self._answers.register(self._link.fileno(), select.POLLIN)
                self._is_writing = False
                self._handle(LinkOpened(), monotonic())
            for fd in frame.fds:
                os.close(fd)


def _pack(envelopes: list[tuple[Header, Body]]) -> Iterable[tuple[bytes, Body]]:
    """Put what is small into batches, and leave what is large alone, in the old order."""
    batch: list[tuple[Header, bytes]] = []
    size = 0
    for header, body in envelopes:
        is_small = isinstance(body, bytes) and len(body) <= BATCHED_BODY
        if batch and (not is_small or size + len(body) > BATCH_BYTES or len(batch) == BATCH_LIMIT):
            yield _parcel(batch)
            batch, size = [], 0
        if isinstance(body, bytes) and is_small:
            batch.append((header, body))
            size += len(body)
        else:
            yield encode_header(header), body
    if batch:
        yield _parcel(batch)


def _parcel(batch: list[tuple[Header, bytes]]) -> tuple[bytes, bytes]:
    if len(batch) == 1:
        return encode_header(batch[0][0]), batch[0][1]
    return BATCH_HEADER, encode_batch(batch)
