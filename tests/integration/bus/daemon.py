"""What stands around a real bus in these tests: a keeper's end that starts it, and a small kernel that speaks the real link over a real channel."""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

import msgspec

from dadms_ipc import channel, requests
from dadms_ipc.envelope import Identity
from dadms_ipc.errors import ChannelClosed
from dadmsd.keeper import messages as keeper
from dadmsd.keeper.lock import Lock
from dadmsd.kernel import link

INFO = requests.DaemonInfo(
    version="test", epoch=1, boot_id="b", os_pid=1, started_at=0.0, runtime_dir="", state_dir="", is_private=True, limits_backend="", servers={}, processes=0,
    threads_ready=0, threads_running=0, slots=0, memory_reserved=0, memory_limit=0,
)  # fmt: skip


def await_true(claim: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Return when a claim holds; fail with its name when it does not in time."""
    end = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > end:
            raise AssertionError(f"not in {seconds:g} s: {what}")
        time.sleep(0.002)


class SmallKernel:
    """Answers requests on its own thread; remembers mutating ones by (client, sequence) as the real one does."""

    def __init__(self, *, epoch: int = 1) -> None:
        self.epoch = epoch
        self.requests: list[link.Request] = []  # everything that came, repeats included
        self.journal: dict[tuple[bytes, int], bytes] = {}
        self.bus_hellos: list[link.BusHello] = []
        self.gone: list[bytes] = []
        self.wanted: list[int] = []
        self.events_wanted: list[bool] = []
        self.roster: list[link.Enrolled] = []
        self.expected: list[link.Expected] = []
        self.sends_roster = True
        self.is_mute = threading.Event()  # set: requests are taken, nothing is answered
        self._channel: channel.Channel[link.FromBus] | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.spawn_answer: bytes | None = None  # said instead of the right one
        self._next_pid = 1001

    def enroll(self, pid: int, incarnation: int = 1, uid: int | None = None) -> Identity:
        """Let a process live; gives what it proves itself with."""
        secret = os.urandom(32)
        entry = link.Enrolled(pid, incarnation, f"test {pid}", os.geteuid() if uid is None else uid, hashlib.sha256(secret).digest())
        self.roster = [one for one in self.roster if one.pid != pid] + [entry]
        self.expected = [one for one in self.expected if one.pid != pid]
        self.say(entry)
        return Identity(pid, incarnation, secret)

    def expect(self, pid: int, name: str) -> None:
        """Let a process be admitted, with no incarnation yet."""
        self.expected.append(link.Expected(pid, name))
        self.say(self.expected[-1])

    def discharge(self, identity: Identity, *, returns: bool = False) -> None:
        """Let a process end."""
        self.roster = [one for one in self.roster if one.pid != identity.pid]
        if returns:
            self.expected.append(link.Expected(identity.pid, f"test {identity.pid}"))
        self.say(link.Discharged(identity.pid, identity.incarnation, returns))

    def say(self, message: link.FromKernel) -> None:
        """Say something on the link, if there is one."""
        with self._lock:
            if self._channel is not None:
                with contextlib.suppress(ChannelClosed):  # the bus died: whoever asked asks again by way of the next
                    self._channel.send(message)

    def attach(self, fd: int) -> None:
        """Take a fresh link: hello, the roster, and then answers."""
        self.detach()
        with self._lock:
            self._channel = channel.Channel(channel.adopt(fd), link.FromBus, epoch=self.epoch)
        self.say(link.KernelHello("boot", "test"))
        if self.sends_roster:
            self.send_roster()
        self._thread = threading.Thread(target=self._serve, args=(self._channel,), daemon=True)
        self._thread.start()

    def send_roster(self) -> None:
        """Say who lives."""
        for entry in self.roster:
            self.say(entry)
        for expected in self.expected:
            self.say(expected)
        self.say(link.RosterSent(len(self.roster)))

    def detach(self) -> None:
        """Die, as far as the bus can see; what was journaled stays for the next link."""
        with self._lock:
            old, self._channel = self._channel, None
        if self._thread is not None:
            self._thread.join(5.0)
            self._thread = None
        if old is not None:
            old.close()

    def _serve(self, mine: "channel.Channel[link.FromBus]") -> None:
        try:
            while self._channel is mine:
                frame = mine.receive(0.02)
                if frame is None:
                    continue
                if isinstance(frame.body, link.Request):
                    self._take(frame.body)
                elif isinstance(frame.body, link.ClientGone):
                    self.gone.append(frame.body.client)
                elif isinstance(frame.body, link.BusHello):
                    self.bus_hellos.append(frame.body)
                elif isinstance(frame.body, link.EventsWanted):
                    self.events_wanted.append(frame.body.is_wanted)
                else:
                    self.wanted.append(frame.body.pid)
        except ChannelClosed:
            return

    def _take(self, request: link.Request) -> None:
        self.requests.append(request)
        key = (request.client, request.sequence)
        try:
            asked = msgspec.msgpack.decode(request.body, type=dict[str, Any])
        except (msgspec.DecodeError, ValueError):  # one value it is, which is all that the bus sees to
            self.answer(request, {})
            return
        if self.is_mute.is_set() and key not in self.journal:
            if asked.get("verb") == "spawn":
                self.journal[key] = self._spawned()  # it took effect, and the answer is lost
            return
        self.answer(request, asked)

    def _spawned(self) -> bytes:
        self._next_pid += 1
        return msgspec.msgpack.encode({"pid": self._next_pid - 1})

    def answer(self, request: link.Request, asked: dict[str, Any]) -> None:
        """Answer one request."""
        key, status = (request.client, request.sequence), "ok"
        if asked.get("verb") == "spawn":
            body = self.journal.setdefault(key, b"") or self._spawned()
            self.journal[key] = body
            body = self.spawn_answer or body
        elif asked.get("verb") == "status" and asked.get("pid") is None:
            body = msgspec.msgpack.encode(INFO)
        elif asked.get("verb") == "wait":
            return
        else:
            status, body = "refused", msgspec.msgpack.encode({"message": f"cannot do {asked}"})
        self.say(link.Reply(request.client, request.sequence, status, msgspec.Raw(body)))


class Daemon:
    """A bus process, its keeper, and a small kernel; everything is gone at the end."""

    def __init__(self, *, kernel: SmallKernel | None = None, files: int | None = None, config: Path | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="dadms-bus-"))
        self.kernel = kernel or SmallKernel()
        self.files = files  # RLIMIT_NOFILE of the bus
        self.config = None if config is None else str(config)
        self.log = (self.directory / "log").open("wb+")
        self.bus: subprocess.Popen[bytes] | None = None
        self._keeper: channel.Channel[keeper.FromKernel] | None = None
        self._lock = Lock(self.directory)  # as the keeper has it: clients of a bus that is away for a while are to know that it comes back
        self.starts = 0

    def start_bus(self, *, linked: bool = True) -> None:
        """Start a bus, as the keeper does, and link it with the kernel."""
        if self._keeper is not None:
            self._keeper.close()
        ours, theirs = channel.pair()
        command: Iterable[str] = [sys.executable, "-m", "dadmsd.bus", "--keeper-fd", str(theirs.fileno())]
        if self.files is not None:
            command = ["prlimit", f"--nofile={self.files}:{self.files}", *command]
        self.bus = subprocess.Popen(list(command), pass_fds=[theirs.fileno()], stderr=self.log, stdout=self.log)
        theirs.close()
        self._keeper = channel.Channel(ours, keeper.FromKernel, epoch=self.kernel.epoch)
        self.starts += 1
        directory = str(self.directory)
        self._keeper.send(keeper.Welcome(self.kernel.epoch, "boot", directory, directory, self.config, True, incarnation=self.starts))
        if linked:
            self.link()

    def link(self) -> None:
        """Make a fresh link between bus and kernel."""
        assert self._keeper is not None
        ours, theirs = channel.pair()
        self._keeper.epoch = self.kernel.epoch
        self._keeper.send(keeper.Linked("kernel", self.kernel.epoch), [theirs.fileno()])
        theirs.close()
        self.kernel.attach(ours.detach())

    def restart_kernel(self) -> None:
        """Let the kernel die and come back with the next epoch."""
        self.kernel.detach()
        self.kernel.epoch += 1
        self.link()

    def kill_bus(self) -> None:
        """Kill the bus with SIGKILL."""
        assert self.bus is not None
        self.bus.send_signal(signal.SIGKILL)
        self.bus.wait(10)

    def stop_bus(self) -> int:
        """Ask the bus to end, as the keeper does; gives its exit code."""
        assert self.bus is not None
        assert self._keeper is not None
        self._keeper.send(keeper.StopAsked("test"))
        return self.bus.wait(10)

    def close_keeper(self) -> None:
        """Let the keeper die, as far as bus and clients can see."""
        assert self._keeper is not None
        self._lock.release()
        self._keeper.close()
        self._keeper = None

    def text(self) -> str:
        """Give what the bus wrote for the log."""
        return (self.directory / "log").read_text()

    def __enter__(self) -> Self:
        self.start_bus()
        await_true((self.directory / "data.sock").exists, "the bus binds its doors")
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.bus is not None and self.bus.poll() is None:
                self.bus.kill()
                self.bus.wait(10)
            self.kernel.detach()
        finally:
            if self._keeper is not None:
                self.close_keeper()
            self.log.close()
            shutil.rmtree(self.directory)
