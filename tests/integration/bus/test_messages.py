"""Messages between processes and clients, through a real bus; a second client stands for the other side, on its own thread."""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable

import msgspec
import pytest

from dadms_ipc.client import Client
from dadms_ipc.envelope import Identity, Kind
from dadms_ipc.errors import DeadlinePassed, RequestRefused
from dadmsd.kernel import link
from tests.integration.bus.daemon import Daemon, await_true


class Other:
    """A client on a thread of its own, which runs one function and keeps what it raises."""

    def __init__(self, daemon: Daemon, work: Callable[[Client], object], identity: Identity | None = None) -> None:
        self.error: BaseException | None = None
        self.result: object = None
        self.address = ""
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(daemon, work, identity))
        self._thread.start()
        assert self._is_ready.wait(10)

    def _run(self, daemon: Daemon, work: Callable[[Client], object], identity: Identity | None) -> None:
        try:
            with Client(daemon.directory, identity=identity) as client:
                client.subscribe("ready/to/listen")  # opens the data door, and waits for it
                self.address = client.address
                self._is_ready.set()
                self.result = work(client)
        except BaseException as error:
            self.error = error
        finally:
            self._is_ready.set()

    def join(self) -> object:
        """Wait for its end; gives what its work gave, raises what it raised."""
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.result


def test_send_returns_when_the_receiver_has_handled_it(daemon: Daemon) -> None:
    """The sender waits for the receiver's word, not the bus's."""
    handled = threading.Event()

    def work(client: Client) -> object:
        message = client.receive(acknowledge=False)
        handled.set()
        client.acknowledge(message)
        return message

    other = Other(daemon, work, daemon.kernel.enroll(1001))
    with Client(daemon.directory) as client:
        client.send("1001", "TASK_REQUEST", b"body")
        assert handled.is_set()
        address = client.address
    message = other.join()
    assert (message.kind, message.sender, message.to, message.topic, message.body) == (Kind.SEND, address, "1001", "TASK_REQUEST", b"body")  # type: ignore[attr-defined]  # a Message


def test_a_receiver_may_refuse_with_its_reason(daemon: Daemon) -> None:
    """The sender gets the receiver's words."""

    def work(client: Client) -> object:
        for _ in range(2):
            client.refuse(client.receive(acknowledge=False), "not today")
        return None

    other = Other(daemon, work, daemon.kernel.enroll(1001))
    with Client(daemon.directory) as client:
        with pytest.raises(RequestRefused, match="not today"):
            client.send("1001", "TASK_REQUEST")
        with pytest.raises(RequestRefused, match="not today"):
            client.request("1001")
    other.join()


def test_a_request_is_answered_by_its_receiver(daemon: Daemon) -> None:
    """A thread's address reaches its process, which sees the thread."""

    def work(client: Client) -> object:
        seen = []
        for _ in range(2):
            message = client.receive()
            seen.append(message.to)
            client.reply(message, b"re: " + message.body)
        return seen

    other = Other(daemon, work, daemon.kernel.enroll(1001))
    with Client(daemon.directory) as client:
        assert client.request("1001", b"one") == b"re: one"
        assert client.request("1001/17", b"two") == b"re: two"
    assert other.join() == ["1001", "1001/17"]


@pytest.mark.parametrize("size", [0, 140, 16 * 1024, 16 * 1024 + 1, 64 * 1024, 5 * 1024 * 1024])
def test_bodies_of_any_size_pass_untouched(daemon: Daemon, size: int) -> None:
    """Small ones are copied and batched, large ones are not; the receiver sees no difference."""

    def work(client: Client) -> object:
        for _ in range(3):
            message = client.receive()
            client.reply(message, message.body)
        return None

    other = Other(daemon, work, daemon.kernel.enroll(1001))
    body = bytes(range(256)) * (size // 256 + 1)
    with Client(daemon.directory) as client:
        for _ in range(3):
            assert client.request("1001", body[:size]) == body[:size]
    other.join()


def test_publications_reach_those_who_subscribe_and_no_others(daemon: Daemon) -> None:
    """Dots and slashes are alike; ``*`` is a segment, ``#`` the rest."""

    def work(client: Client) -> object:
        client.subscribe("process/*/task")
        client.subscribe("process.1001.#")
        client.publish("listening")
        seen = []
        while (message := client.receive()).topic != "process/1001/end":
            seen.append(message.topic)
        return seen

    with Client(daemon.directory) as client:
        client.subscribe("listening")
        other = Other(daemon, work)
        assert client.receive().topic == "listening"
        for topic in (
            "process/1002/task",
            "process.1002.other",
            "process/1001",
            "process.1001.task",
            "process/1002/task/deep",
            "process/1001/end",
        ):
            client.publish(topic)
        assert other.join() == ["process/1002/task", "process/1001", "process.1001.task"]


def test_unsubscribed_is_unsubscribed(daemon: Daemon) -> None:
    """In order: what is published after the answer does not come."""
    with Client(daemon.directory) as client:
        client.subscribe("a/*")
        client.publish("a/1")
        assert client.receive().topic == "a/1"
        client.unsubscribe("a.*")
        client.subscribe("b")
        client.publish("a/2")
        client.publish("b")
        assert client.receive().topic == "b"


def test_events_of_the_kernel_reach_subscribers_with_their_numbers(daemon: Daemon) -> None:
    """And nobody else may publish there."""
    with Client(daemon.directory) as client:
        client.subscribe("events/#")
        await_true(lambda: daemon.kernel.events_wanted == [True], "the word that events are wanted")
        for number in (7, 8):
            daemon.kernel.say(link.Event(number, "process/1001/running", msgspec.Raw(b"\x01")))
        first, second = client.receive(), client.receive()
        assert [(one.topic, one.number, one.sender, one.body) for one in (first, second)] == [
            ("events/process/1001/running", 7, "kernel", b"\x01"),
            ("events/process/1001/running", 8, "kernel", b"\x01"),
        ]
        client.publish("events/process/1001/running", b"forged")
        with pytest.raises(DeadlinePassed):
            client.receive(timeout=0.1)
        assert client.bus_status()["counters"]["refused"] == 1
        client.unsubscribe("events/#")
        await_true(lambda: daemon.kernel.events_wanted == [True, False], "the word that they are not")


def test_a_message_to_nobody_is_refused_at_once(daemon: Daemon) -> None:
    """With the address, and why."""
    with Client(daemon.directory) as client:
        for address in ("1001", "1001/3", "client/none", "nobody"):
            with pytest.raises(RequestRefused, match=f'cannot reach "{address}"'):
                client.send(address, "TASK_REQUEST")


def test_a_message_waits_for_a_process_that_lives_but_is_not_connected_yet(daemon: Daemon) -> None:
    """Enrolled is alive: it will say hello in a moment."""
    identity = daemon.kernel.enroll(1001)
    results: list[bytes] = []
    with Client(daemon.directory) as client:
        await_true(lambda: client.bus_status()["enrolled"] == 1, "the roster has it")
        asking = threading.Thread(target=lambda: results.append(_ask(daemon)))
        asking.start()
        await_true(lambda: client.bus_status()["queued"] == 1, "the message waits")
        with Client(daemon.directory, identity=identity) as process:
            process.reply(process.receive(), b"late")
            asking.join(10)
    assert results == [b"late"]


def _ask(daemon: Daemon) -> bytes:
    with Client(daemon.directory) as client:
        return client.request("1001", b"anybody?")


def test_what_waited_past_its_deadline_is_never_delivered(daemon: Daemon) -> None:
    """Expired work is dropped before it is delivered, and counted."""
    identity = daemon.kernel.enroll(1001)
    with Client(daemon.directory) as client:
        with pytest.raises(DeadlinePassed):
            client.request("1001", b"too late", timeout=0.15)
        await_true(lambda: client.bus_status()["counters"]["expired"] == 1, "it expired")
        with Client(daemon.directory, identity=identity) as process, pytest.raises(DeadlinePassed):
            process.receive(timeout=0.15)


def test_a_process_that_ends_fails_what_it_was_asked(daemon: Daemon) -> None:
    """Its session is cut with the reason, and its askers need not wait for their deadlines."""
    identity = daemon.kernel.enroll(1001)
    received = threading.Event()

    def work(client: Client) -> object:
        client.receive()
        received.set()
        with pytest.raises(RequestRefused, match=r"process 1001\.1 ended"):
            client.receive(timeout=10)
        return "expelled"

    other = Other(daemon, work, identity)
    asking = Other(daemon, lambda client: client.request("1001", timeout=20))
    assert received.wait(10)
    daemon.kernel.discharge(identity)
    assert other.join() == "expelled"
    with pytest.raises(RequestRefused, match=r'cannot ask "1001".*process 1001\.1 ended'):
        asking.join()


def test_order_is_kept_per_sender(daemon: Daemon) -> None:
    """Through batches, credit and queues."""
    count = 3000  # more than the receiver's window, less than its queue

    def work(client: Client) -> object:
        client.subscribe("count")
        client.publish("listening")
        return [int(client.receive(timeout=10).body) for _ in range(count)]

    with Client(daemon.directory) as client:
        client.subscribe("listening")
        other = Other(daemon, work)
        client.receive()
        for number in range(count):
            client.publish("count", str(number).encode())
        assert other.join() == list(range(count))


def test_replying_to_a_send_or_acknowledging_a_request_is_a_mistake(daemon: Daemon) -> None:
    """It is refused on the spot, with the kind that it was."""

    def work(client: Client) -> object:
        sent = client.receive(acknowledge=False)
        with pytest.raises(RequestRefused, match="it is a SEND"):
            client.reply(sent)
        client.acknowledge(sent)
        return None

    other = Other(daemon, work, daemon.kernel.enroll(1001))
    with Client(daemon.directory) as client:
        client.send("1001", "TASK_REQUEST")
    other.join()


def test_a_signal_that_the_poll_does_not_notice_is_answered_before_the_deadline(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel gives it to another thread, so that no system call of the waiting one is interrupted."""

    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    polls = threading.Event()

    class Watched:
        def __init__(self, real: select.poll) -> None:
            self.real = real

        def __getattr__(self, name: str) -> object:
            return getattr(self.real, name)

        def poll(self, timeout: float) -> list[tuple[int, int]]:
            polls.set()
            return self.real.poll(timeout)

    def give() -> None:
        if polls.wait(10):
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    giver = threading.Thread(target=give)
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with Client(daemon.directory) as client:
            client.subscribe("nobody/says/this")
            monkeypatch.setattr(client, "_poll", Watched(client._poll))
            began = time.monotonic()
            giver.start()
            with pytest.raises(Interrupted):
                client.receive(timeout=30.0)
        assert time.monotonic() - began < 10.0
    finally:
        giver.join()
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("waiting", [0.5, 5.0], ids=["polling", "waiting in the socket"])
def test_an_interrupt_between_the_socket_and_the_session_loses_no_message(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, waiting: float
) -> None:
    """A program that catches Ctrl-C and goes on gets the message then, from a new connection."""

    def work(client: Client) -> object:
        handle = client._session.handle

        def interrupted(*_: object) -> list[int]:
            monkeypatch.setattr(client._session, "handle", handle)
            raise KeyboardInterrupt

        armed.wait(10)
        monkeypatch.setattr(client._session, "handle", interrupted)
        with pytest.raises(KeyboardInterrupt):
            receive_for_ever(client)
        return client.receive(timeout=2.0).body  # sooner than the bus repeats what has no answer

    def receive_for_ever(client: Client) -> None:
        while True:
            with contextlib.suppress(DeadlinePassed):
                client.receive(timeout=waiting)

    armed = threading.Event()
    other = Other(daemon, work)
    with Client(daemon.directory, timeout=10.0) as client:
        armed.set()
        assert client.send(other.address, "T", b"once") == "handled"
    assert other.join() == b"once"


def test_what_a_client_says_last_counts_however_soon_it_goes(daemon: Daemon) -> None:
    """Its connections of a moment ago have the numbers of its new ones; their ends are theirs alone."""

    def work(client: Client) -> object:
        client._is_torn = True  # as after an interrupt: it connects anew
        return client.receive(timeout=10.0).body

    with Client(daemon.directory, timeout=5.0) as client:
        for number in range(30):
            other = Other(daemon, work)
            assert client.send(other.address, "T", b"%d" % number) == "handled"
            assert other.join() == b"%d" % number


def test_waiting_for_a_message_and_a_descriptor_of_the_programs_own(daemon: Daemon) -> None:
    """`wait` ends for whichever comes first, and says which; another thread wakes it so."""
    bell = os.eventfd(0, os.EFD_CLOEXEC)
    try:
        with Client(daemon.directory) as client, Client(daemon.directory) as other:
            client.subscribe("news")
            assert not client.wait(bell, timeout=0.0)
            ringing = threading.Timer(0.05, os.eventfd_write, (bell, 1))
            ringing.start()
            began = time.monotonic()
            assert not client.wait(bell, timeout=20.0)
            assert time.monotonic() - began < 10.0
            ringing.join()
            os.eventfd_read(bell)
            other.publish("news", b"1")
            assert client.wait(bell, timeout=20.0)
            os.eventfd_write(bell, 1)
            assert client.wait(bell, timeout=20.0)  # a message that is here comes first
            assert client.receive(timeout=0.0).body == b"1"
            assert not client.wait(bell, timeout=20.0)
    finally:
        os.close(bell)


def test_waiting_goes_on_over_the_buses_death(daemon: Daemon) -> None:
    bell = os.eventfd(0, os.EFD_CLOEXEC)
    try:
        with Client(daemon.directory) as client:
            client.subscribe("news")
            daemon.kill_bus()
            assert not client.wait(bell, timeout=0.2)
    finally:
        os.close(bell)
