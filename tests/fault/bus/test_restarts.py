"""The bus, or the kernel, dies in the middle of traffic: every call has one answer, every message one handling."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

from dadms_ipc import requests
from dadms_ipc.client import Client
from dadms_ipc.errors import DeadlinePassed, RequestRefused
from tests.integration.bus.daemon import Daemon, SmallKernel, await_true

SPAWN = requests.Spawn(requests.Spec("a", "bpmn"))


class Crowd:
    """Threads that work until told to stop; the first error of any is raised at the end."""

    def __init__(self, works: list[Callable[[threading.Event], None]]) -> None:
        self.stop = threading.Event()
        self.errors: list[BaseException] = []
        self.threads = [threading.Thread(target=self._run, args=(work,)) for work in works]
        for thread in self.threads:
            thread.start()

    def _run(self, work: Callable[[threading.Event], None]) -> None:
        try:
            work(self.stop)
        except BaseException as error:
            self.errors.append(error)

    def join(self) -> None:
        """Stop and wait."""
        self.stop.set()
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()
        if self.errors:
            raise self.errors[0]


def _kill_bus(daemon: Daemon) -> None:
    daemon.kill_bus()
    daemon.start_bus()


def _kill_kernel(daemon: Daemon) -> None:
    daemon.restart_kernel()


def _kill_both(daemon: Daemon) -> None:
    daemon.kernel.detach()
    daemon.kernel.epoch += 1
    daemon.kill_bus()
    daemon.start_bus(linked=False)
    daemon.link()


@pytest.mark.parametrize("fault", [_kill_bus, _kill_kernel, _kill_both])
def test_each_call_is_answered_once(daemon: Daemon, fault: Callable[[Daemon], None]) -> None:
    """Mutating calls are repeated with the same (client, sequence): the kernel did each once, and the caller heard its answer."""
    pids: list[int] = []

    def work(stop: threading.Event) -> None:
        with Client(daemon.directory, timeout=15) as client:
            while not stop.is_set():
                pids.append(client.call(SPAWN)["pid"])

    crowd = Crowd([work] * 3)
    for _ in range(4):
        before = len(pids)
        await_true(lambda before=before: len(pids) > before + 20, "traffic flows")  # type: ignore[misc]  # mypy does not see the default's type
        fault(daemon)
    before = len(pids)
    await_true(lambda: len(pids) > before + 20, "traffic flows again")
    crowd.join()
    assert len(pids) == len(set(pids)), "no two calls were answered with the same process"
    assert len(pids) == len(daemon.kernel.journal), "every spawn that took effect was answered"
    assert set(Counter((one.client, one.sequence) for one in daemon.kernel.requests)) == set(daemon.kernel.journal)


def test_a_call_whose_answer_was_lost_is_asked_again_with_the_same_sequence(daemon: Daemon) -> None:
    """The kernel did it, the bus died before the answer: the repeat finds it in the journal."""
    daemon.kernel.is_mute.set()
    answers: list[int] = []

    def work(stop: threading.Event) -> None:
        with Client(daemon.directory, timeout=15) as client:
            answers.append(client.call(SPAWN)["pid"])

    crowd = Crowd([work])
    await_true(lambda: len(daemon.kernel.journal) == 1, "the spawn took effect")
    daemon.kill_bus()
    daemon.kernel.is_mute.clear()
    daemon.start_bus()
    await_true(lambda: answers == [1001], "the answer")
    crowd.join()
    assert len({(one.client, one.sequence) for one in daemon.kernel.requests}) == 1
    assert len(daemon.kernel.requests) == 2


def test_messages_in_flight_are_handled_once_each(daemon: Daemon) -> None:
    """Senders and the receiver live, the bus dies four times: each SEND returns, each REQUEST is answered, and the receiver saw each id once."""
    identity = daemon.kernel.enroll(1001)
    seen: list[bytes] = []
    answered: list[bytes] = []

    def serve(stop: threading.Event) -> None:
        with Client(daemon.directory, identity=identity, timeout=15) as client:
            while not stop.is_set() or client.bus_status()["exchanges"]:
                try:
                    message = client.receive(timeout=0.2)
                except DeadlinePassed:
                    continue
                seen.append(message.body)
                if message.topic == "request":
                    client.reply(message, message.body)

    def ask(name: str) -> Callable[[threading.Event], None]:
        def work(stop: threading.Event) -> None:
            with Client(daemon.directory, timeout=15) as client:
                number = 0
                while not stop.is_set():
                    number += 1
                    body = f"{name} {number}".encode()
                    if number % 2:
                        client.send("1001", "send", body)
                    else:
                        assert client.request("1001", body, topic="request") == body
                    answered.append(body)

        return work

    server = Crowd([serve])
    senders = Crowd([ask("a"), ask("b"), ask("c")])
    for _ in range(4):
        before = len(answered)
        await_true(lambda before=before: len(answered) > before + 20, "traffic flows")  # type: ignore[misc]  # mypy does not see the default's type
        _kill_bus(daemon)
    before = len(answered)
    await_true(lambda: len(answered) > before + 20, "traffic flows again")
    senders.join()
    server.join()
    assert len(seen) == len(set(seen)), "the receiver saw each message once"
    assert sorted(seen) == sorted(answered)
    for name in (b"a", b"b", b"c"):
        numbers = [int(one.split()[1]) for one in seen if one.startswith(name)]
        assert numbers == sorted(numbers), "in the order of their sender"


def test_reconnection_takes_tens_of_milliseconds(daemon: Daemon) -> None:
    """From the moment that the new bus listens to the answer of a call that was waiting for it."""
    with Client(daemon.directory, timeout=15) as client:
        client.call(requests.Status())
        taken = []
        for _ in range(3):
            daemon.kill_bus()
            (daemon.directory / "control.sock").unlink()
            daemon.start_bus()
            await_true((daemon.directory / "control.sock").exists, "the door is bound")
            before = time.monotonic()
            client.call(requests.Status())
            taken.append(time.monotonic() - before)
    assert sorted(taken)[1] < 0.5  # tens of milliseconds on a quiet machine


def test_subscriptions_survive_a_restart(daemon: Daemon) -> None:
    """Without a word from the program."""
    with Client(daemon.directory) as listener, Client(daemon.directory) as speaker:
        listener.subscribe("news/#")
        _kill_bus(daemon)
        speaker.publish("other/topic")  # the bus is back
        await_true(lambda: _is_heard(listener, speaker), "the subscription is there again")


def _is_heard(listener: Client, speaker: Client) -> bool:
    speaker.publish("news/today")
    try:
        return listener.receive(timeout=0.1).topic == "news/today"
    except DeadlinePassed:
        return False


def test_a_process_is_not_refused_before_the_roster_is_known(no_leaks: None) -> None:
    """A fresh bus without a kernel lets a hello wait; with the roster it is welcomed, and an impostor's refused."""
    kernel = SmallKernel()
    kernel.sends_roster = False
    with Daemon(kernel=kernel) as daemon:
        identity = kernel.enroll(1001)
        _kill_bus(daemon)  # the new bus knows nobody, and the kernel does not say yet
        outcomes: list[str] = []

        def connect(secret: bytes) -> None:
            try:
                with Client(daemon.directory, identity=type(identity)(1001, 1, secret), timeout=15) as client:
                    outcomes.append(client.address)
            except RequestRefused as error:
                outcomes.append(str(error))

        threads = [threading.Thread(target=connect, args=(secret,)) for secret in (identity.secret, b"\0" * 32)]
        for thread in threads:
            thread.start()
        with Client(daemon.directory) as client:
            await_true(lambda: client.bus_status()["counters"]["hellos"] == 3, "both said hello")
        assert outcomes == []
        kernel.send_roster()
        for thread in threads:
            thread.join(10)
        assert sorted(outcomes) == ["1001", "cannot speak as process 1001.1: it does not live, or the secret is not its own"]


def test_a_frozen_receiver_gets_its_messages_when_it_thaws(daemon: Daemon) -> None:
    """No heartbeat cuts it: what was sent to it in the meantime is handled, and its sender hears so."""
    identity = daemon.kernel.enroll(1001)
    program = (
        "import sys; from dadms_ipc.client import Client, Identity\n"
        f"with Client({str(daemon.directory)!r}, identity=Identity(1001, 1, bytes.fromhex(sys.argv[1]))) as client:\n"
        "    while (message := client.receive(timeout=30)).body != b'end':\n"
        "        client.reply(message, message.body)\n"
        "    client.reply(message)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, identity.secret.hex()])
    try:
        with Client(daemon.directory, timeout=15) as client:
            assert client.request("1001", b"one") == b"one"
            os.kill(process.pid, signal.SIGSTOP)
            with pytest.raises(DeadlinePassed):
                client.request("1001", b"lost", timeout=1.0)
            answers: list[bytes] = []
            crowd = Crowd([lambda _: answers.append(_ask(daemon, b"two"))])
            await_true(lambda: client.bus_status()["exchanges"] == 1, "the second request is open")
            os.kill(process.pid, signal.SIGCONT)
            await_true(lambda: answers == [b"two"], "the answer after the thaw")
            crowd.join()
            client.request("1001", b"end")
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def _ask(daemon: Daemon, body: bytes) -> bytes:
    with Client(daemon.directory, timeout=15) as client:
        return client.request("1001", body)


def test_an_older_kernel_is_not_obeyed(daemon: Daemon) -> None:
    """The epoch is a fencing token: what a kernel of an earlier epoch says is dropped, and written down."""
    daemon.restart_kernel()
    with Client(daemon.directory) as client:
        client.call(requests.Status())
        daemon.kernel.detach()
        daemon.kernel.epoch -= 1
        daemon.link()
        with pytest.raises(DeadlinePassed):
            client.call(requests.Status(), timeout=0.3)
        daemon.kernel.detach()
        daemon.kernel.epoch += 2
        daemon.link()
        client.call(requests.Status())
    assert "of the kernel's epoch 1: the newest is 2" in daemon.text()


def test_a_killed_client_is_forgotten_at_once(daemon: Daemon) -> None:
    """Its subscriptions go with it, and what it said before it died is taken; one that only lost its connection keeps them for a while."""
    program = (
        "import os; from dadms_ipc.client import Client\n"
        f"client = Client({str(daemon.directory)!r})\n"
        "client.subscribe('news/#')\n"
        "client.publish('seen/one')\n"
        "client.confirm()\n"  # what it said has arrived
        "os.kill(os.getpid(), 9)\n"
    )
    with Client(daemon.directory) as client:
        client.subscribe("seen/#")
        client.confirm()  # its sessions at both doors are there
        before = client.bus_status()["sessions"]
        process = subprocess.Popen([sys.executable, "-c", program])
        assert client.receive(timeout=20).topic == "seen/one"
        began = time.monotonic()
        await_true(lambda: client.bus_status()["sessions"] == before, "its session is gone")
        assert time.monotonic() - began < 5.0  # a linger is 10 s, and a ping takes up to 30
        assert process.wait(10) == -9
        client.publish("news/today")
        client.confirm()
        assert client.bus_status()["counters"]["fanned_out"] == 1, "nobody hears the news"
