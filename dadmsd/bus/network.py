"""The doors to the network: which ports, who is let in, and who is not any more.

1. There is no way to bind a port without CURVE: ports are bound here, and nowhere else.
2. libzmq asks at each handshake (ZAP, ZeroMQ RFC 27) whether a key may come in; the answer is the allow-list as it is at that moment. Whom the handshake let in is
   checked again by the core with its first word and at each change of the list.
3. The list is read when it changes, as inotify tells. An entry that cannot be read lets nobody in, and is told.
"""

from collections.abc import Iterator
from pathlib import Path

import zmq
from zmq.utils import z85

from dadms_ipc.envelope import Door
from dadms_ipc.errors import HostFailure
from dadms_ipc.keys import KeyList, Pair
from dadmsd import config
from dadmsd.bus.core.events import Audit, Grant, Who
from dadmsd.bus.doors import Router
from dadmsd.bus.listeners import Listener
from dadmsd.bus.watch import Watch

IO_THREADS = 4  # two for this machine, two for the network
ZAP_ENDPOINT = "inproc://zeromq.zap.01"
ZAP_VERSION = b"1.0"


def ports(network: config.Config) -> list[tuple[str, Door, int]]:
    """Give the ports that are on: name, door, number."""
    named = (
        ("kernel", Door.CONTROL, network.network.kernel_port),
        ("process-manager", Door.CONTROL, network.network.process_manager_port),
        ("thread-manager", Door.CONTROL, network.network.thread_manager_port),
        ("resource-manager", Door.CONTROL, network.network.resource_manager_port),
        ("orchestrator-registry", Door.CONTROL, network.network.orchestrator_registry_port),
        ("data", Door.DATA, network.network.data_port),
    )
    return [(name, door, port) for name, door, port in named if port]


class Network:
    """Listening sockets, the answers to handshakes, and the allow-list."""

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", routers: tuple[Router, ...], settings: config.Config, state_dir: Path
    ) -> None:
        if not settings.network.curve or not zmq.has("curve"):
            raise HostFailure(
                "cannot listen on the network: this libzmq has no CURVE, or it is turned off, and nothing is said to a network without it"
            )
        self._list = KeyList(state_dir)
        self._list.prepare()
        public, secret = zmq.curve_keypair()
        pair = self._list.server_pair() or self._list.make_server_pair(Pair(public.decode(), secret.decode()))
        self.watch = Watch(self._list.allowed)
        self._mistakes: list[str] = []
        self._known: dict[str, str] = {}  # public half -> name
        self.keys: dict[str, Grant] = {}
        self.zap = context.socket(zmq.ROUTER)
        self.zap.bind(ZAP_ENDPOINT)
        for name, door, port in ports(settings):
            listener = Listener(name, settings.network.listen, port)
            routers[door].add_listener(listener)
            listener.attach(routers[door].socket, pair, thread=2 + door)

    def read_keys(self) -> Iterator[Audit]:
        """Read the allow-list; gives lines about what has changed, and about entries that cannot be read."""
        entries, mistakes = self._list.entries()
        keys = {name: Grant(entry.public, entry.role, entry.uid) for name, entry in entries.items()}
        before, self.keys = self.keys, keys
        self._known = {grant.public: name for name, grant in keys.items()}
        for name in sorted(before.keys() | keys.keys()):
            if before.get(name) != keys.get(name):
                what = "may come in" if name not in before else "is revoked" if name not in keys else "has changed"
                yield Audit(f'key "{name}" {what}' + (f" ({keys[name].role})" if name in keys else ""))
        yield from (Audit(mistake) for mistake in mistakes if mistake not in self._mistakes)
        self._mistakes = mistakes

    def hear_changes(self) -> Iterator[Audit]:
        """Go on watching the list, also where its directory was removed or another is in its place; gives a line where that cannot be."""
        self.watch.drain()
        try:
            self._list.prepare()
            self.watch.renew()
        except HostFailure as error:
            yield Audit(f"cannot see which keys are revoked until the bus is started again: {error}")

    def answer_handshakes(self) -> Iterator[Audit]:
        """Answer all that libzmq asks; gives a line for each key that was turned away."""
        while True:
            try:
                frames = self.zap.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if len(frames) < 9:
                continue  # not what libzmq asks
            route, _, _, number, _, address, _, mechanism, credentials = frames[:9]
            public = z85.encode(credentials).decode() if mechanism == b"CURVE" and len(credentials) == 32 else ""
            name = self._known.get(public)
            verdict = (b"400", b"this key is not on the list", b"") if name is None else (b"200", b"OK", f"{name} {public}".encode())
            if name is None:
                who = Who(-1, -1, (), "", "", address.decode("ascii", "replace") or "?")
                why = f'the key "{public}" is not on the list' if public else "it has no key"
                yield Audit(f"refused {who}: {why}", "refused", who, "", "handshake", why)
            self.zap.send_multipart([route, b"", ZAP_VERSION, number, *verdict, b""])

    def close(self) -> None:
        """Watch no more; the ports go with their doors."""
        self.watch.close()
        self.zap.close(0)
