"""Clients that break the protocol, claim to be others, or do not read: the bus answers, ignores or cuts them, and everybody else is served."""

import contextlib
import functools
import os
import random
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zmq

from dadms_ipc import requests
from dadms_ipc.client import Client
from dadms_ipc.codec import decode_body, encode_batch, encode_body, encode_header, trouble_of
from dadms_ipc.envelope import BODY_LIMIT, NO_SESSION, OK, REFUSED, VERSION, VIOLATION, WRONG_VERSION, Header, Hello, Identity, Invite, Kind
from dadms_ipc.errors import RequestRefused
from tests.fault.bus.raw import RawClient
from tests.integration.bus.daemon import INFO, Daemon, await_true


def test_a_wrong_secret_is_refused_and_written_down(daemon: Daemon) -> None:
    """So are another incarnation and a process that does not live."""
    identity = daemon.kernel.enroll(1001)
    with Client(daemon.directory) as client:
        await_true(lambda: client.bus_status()["enrolled"] == 1, "the roster has it")
        for theft in (
            Identity(1001, 1, os.urandom(32)),
            Identity(1001, 2, identity.secret),
            Identity(1002, 1, identity.secret),
            Identity(1001, 1, b""),
        ):
            with pytest.raises(RequestRefused, match=f"cannot speak as process {theft.pid}.{theft.incarnation}"):
                Client(daemon.directory, identity=theft)
        assert client.bus_status()["counters"]["identity_refused"] == 4
    with Client(daemon.directory, identity=identity) as process:
        assert process.address == "1001"
    assert daemon.text().count(f"refused uid {os.geteuid()} pid {os.getpid()}: cannot speak as process") == 4


def test_a_session_speaks_only_as_itself(daemon: Daemon) -> None:
    """A sender that is somebody else is refused; one's own threads are oneself."""
    identity = daemon.kernel.enroll(1001)
    daemon.kernel.enroll(1002)
    with RawClient(daemon.directory, "data") as client:
        assert client.hello(identity).kind == Kind.WELCOME
        for sender in ("1002", "10011", "1002/1", "kernel", "bus"):
            client.say(Kind.SEND, to="1002", topic="t", sender=sender)
            header, body = client.hear()
            assert (header.kind, header.topic) == (Kind.REFUSE, REFUSED)
            assert trouble_of(body) == f'cannot speak as "{sender}": this session is "1001"'
        client.say(Kind.SUBSCRIBE, topic="own")
        client.hear()
        client.say(Kind.PUBLISH, topic="own", sender="1001/17")
        assert client.hear()[0].sender == "1001/17"


def test_a_session_is_not_taken_over(daemon: Daemon) -> None:
    """Who knows another's client id, but not its secret, does not get into its session; nor may a message carry another's id."""
    identity = daemon.kernel.enroll(1001)
    with RawClient(daemon.directory, "data") as owner, RawClient(daemon.directory, "data", client=owner.client) as thief:
        assert owner.hello(identity).kind == Kind.WELCOME
        header = thief.hello()
        assert (header.kind, header.topic) == (Kind.REFUSE, REFUSED)
        owner.say(Kind.SEND, to="1001", topic="t", id=bytes(24))
        assert owner.hear()[0].topic == VIOLATION


def test_only_the_receiver_answers(daemon: Daemon) -> None:
    """An answer by anybody else is a violation, and the right one still arrives."""
    identity = daemon.kernel.enroll(1001)
    with (
        RawClient(daemon.directory, "data") as asker,
        RawClient(daemon.directory, "data") as other,
        RawClient(daemon.directory, "data") as receiver,
    ):
        asker.hello()
        other.hello()
        receiver.hello(identity)
        asked = asker.say(Kind.REQUEST, b"q", to="1001", topic="t", deadline=10_000)
        assert receiver.hear()[0].id == asked
        other.say(Kind.RESPONSE, b"forged", id=b"", topic=OK, correlation=asked)
        assert other.hear()[0].topic == VIOLATION
        receiver.say(Kind.RESPONSE, b"true", id=b"", topic=OK, correlation=asked)
        assert asker.hear()[1] == b"true"


def test_a_chosen_routing_id_is_refused(daemon: Daemon) -> None:
    """It could be chosen again, by somebody else, who would be taken for the first."""
    with RawClient(daemon.directory, route=b"me") as client:
        client.socket.send(b"")
        assert "does not choose its routing id" in trouble_of(client.hear()[1])


def test_nothing_is_done_before_hello(daemon: Daemon) -> None:
    """Every kind gets the same answer: say hello."""
    with RawClient(daemon.directory) as client:
        client.socket.send(b"")
        header, body = client.hear()
        assert header.kind == Kind.INVITE
        assert decode_body(body, Invite).versions == [VERSION]
        client.say(Kind.CALL, encode_body(requests.Status()))
        assert client.hear()[0].topic == NO_SESSION
    assert daemon.kernel.requests == []


def test_another_version_is_told_which_one_is_spoken(daemon: Daemon) -> None:
    """Whatever the rest of its header looks like."""
    with RawClient(daemon.directory) as client:
        client.say(Kind.HELLO, encode_body(Hello(client.client, [2, 3])))
        header, body = client.hear()
        assert (header.topic, trouble_of(body)) == (
            WRONG_VERSION,
            "cannot speak with you: you know versions [2, 3] of the protocol, this bus 1",
        )
        client.say(Kind.HELLO, version=2)
        assert client.hear()[0].topic == WRONG_VERSION
        client.socket.send_multipart([encode_body([9, {"a": "new header"}]), b""])
        assert "cannot read version 9" in trouble_of(client.hear()[1])


def test_each_door_has_its_kinds(daemon: Daemon) -> None:
    """A call at the data door, or data at the control door, is a violation."""
    with RawClient(daemon.directory, "data") as data, RawClient(daemon.directory) as control:
        data.hello()
        control.hello()
        data.say(Kind.CALL, encode_body(requests.Status()))
        assert trouble_of(data.hear()[1]) == "a CALL at the data door"
        control.say(Kind.PUBLISH, topic="a")
        assert trouble_of(control.hear()[1]) == "a PUBLISH at the control door"
        control.say(Kind.WELCOME)
        assert "does not send messages of kind 3" in trouble_of(control.hear()[1])


def _malformed(number: int, chance: random.Random) -> list[bytes]:
    """Give one of many ways to be wrong."""
    right = encode_header(Header(VERSION, Kind.CALL, bytes(24), "", "kernel"))
    ways = (
        lambda: [chance.randbytes(chance.randrange(1, 200))],
        lambda: [right[: chance.randrange(len(right))], b"x"],
        lambda: [right, b"x", b"y", b"z"],
        lambda: [b"\x91" * 4000, b""],
        lambda: [b"\xdd\xff\xff\xff\xff", b""],
        lambda: [bytes(5000), b""],
        lambda: [encode_body([1, 10, "not bytes", 1, 2, 3, 4, 5, 6]), b""],
        lambda: [encode_body([1, 10, bytes(25)]), b""],
        lambda: [encode_body([1, 10, b"", "x" * 200]), b""],
        lambda: [encode_body([1, -1]), b""],
        lambda: [encode_body([1, 2**63]), b""],
        lambda: [encode_header(Header(VERSION, Kind.BATCH)), chance.randbytes(50)],
        lambda: [encode_header(Header(VERSION, Kind.BATCH)), encode_batch([(Header(VERSION, Kind.BATCH), b"\x90")] * 10)],
        lambda: [encode_header(Header(VERSION, Kind.BATCH)), b"\xdc\xff\xff" + bytes(10)],
        lambda: [encode_header(Header(VERSION, Kind.HELLO)), b"\x81\xa6client\xc4\x03abc"],
        lambda: [b"", b"", b""],
    )
    return ways[number % len(ways)]()


def _has_cut(client: Client, count: int) -> bool:
    return bool(client.bus_status()["counters"]["cut"] == count)


@pytest.mark.parametrize("door", ["control", "data"])
@pytest.mark.parametrize("has_session", [False, True])
def test_two_thousand_malformed_messages_leave_others_served(daemon: Daemon, door: str, has_session: bool) -> None:
    """The bus answers, counts, cuts and writes down; another client's calls are answered all the while."""
    chance = random.Random(20261122)
    with Client(daemon.directory) as client:
        for batch in range(20):
            with RawClient(daemon.directory, door) as hostile:
                if has_session:
                    hostile.hello()
                for number in range(100):
                    hostile.socket.send_multipart(_malformed(batch * 100 + number, chance))
                assert client.call(requests.Status()) == INFO
                hostile.hear()
                await_true(functools.partial(_has_cut, client, batch + 1), "it was cut")
        assert client.bus_status()["counters"]["violations"] == 100 + 19 * 10  # of one process: it was trusted with less once it was cut
        assert client.call(requests.Status()) == INFO
    assert daemon.bus is not None
    assert daemon.bus.poll() is None


def test_a_connection_that_sends_only_garbage_is_cut(daemon: Daemon) -> None:
    """After a hundred broken messages, with a line that says who and what."""
    with RawClient(daemon.directory) as client, Client(daemon.directory) as other:
        client.hello()
        for _ in range(100):
            client.socket.send_multipart([b"\xc1", b""])
        await_true(lambda: other.bus_status()["counters"]["cut"] == 1, "it was cut")
    assert f"cut a connection: uid {os.geteuid()} pid {os.getpid()} sent 100 broken messages" in daemon.text()


def test_a_connection_that_was_cut_is_not_heard_before_its_end_and_trusted_with_less_when_it_is_back(daemon: Daemon) -> None:
    """What it says meanwhile counts for nothing, it is gone a second later and not before, and then ten violations are enough."""
    with RawClient(daemon.directory) as client, Client(daemon.directory) as other, client.context.socket(zmq.PAIR) as monitor:
        client.socket.monitor("inproc://ends", zmq.EVENT_DISCONNECTED)
        monitor.connect("inproc://ends")
        client.hello()
        for _ in range(100):
            client.socket.send_multipart([b"\xc1", b""])
        await_true(lambda: other.bus_status()["counters"]["cut"] == 1, "it was cut")
        began, said = time.monotonic(), 0
        for _ in range(100):
            assert client.hear()[0].topic == VIOLATION
        while not monitor.poll(0):  # it is not gone
            client.socket.send_multipart([b"\xc1", b"", *[b"more"] * 20])
            said += 1
            assert other.call(requests.Status()) == INFO
        assert time.monotonic() - began > 0.9
        assert said > 100
        assert other.bus_status()["counters"]["violations"] == 100
        assert client.socket.poll(0) == 0
        for _ in range(20):
            client.socket.send_multipart([b"\xc1", b""])
        await_true(lambda: other.bus_status()["counters"]["cut"] == 2, "it was cut again")
        assert other.bus_status()["counters"]["violations"] == 110
        client.socket.disable_monitor()


def test_garbage_that_is_not_even_zmtp_is_ignored(daemon: Daemon) -> None:
    """A stranger on the unix socket costs nobody anything."""
    strangers = []
    for content in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 1000, b"", b"\xff\0\0\0\0\0\0\0\x01\x7f\x03"):
        stranger = socket.socket(socket.AF_UNIX)
        stranger.connect(str(daemon.directory / "control.sock"))
        stranger.send(content)
        strangers.append(stranger)
    with Client(daemon.directory) as client:
        assert client.call(requests.Status()) == INFO
    for stranger in strangers:
        stranger.close()


def _greeting(mechanism: bytes) -> bytes:
    """Give ZMTP's first 64 bytes (ZeroMQ RFC 23)."""
    return b"\xff" + bytes(7) + b"\x01\x7f\x03\x00" + mechanism.ljust(20, b"\0") + bytes(32)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (_greeting(b"CURVE"), "it asks for another mechanism than NULL"),
        (_greeting(b"NULL") + b"\x04\x06\x05READX", "its handshake broke the protocol"),
        (_greeting(b"NULL") + b"\x00\x05hello", "its handshake broke the protocol"),
    ],
    ids=["another mechanism", "a broken READY", "a message before READY"],
)
def test_a_broken_handshake_on_a_unix_socket_is_written_down(daemon: Daemon, said: bytes, why: str) -> None:
    """With who it was, unless it was gone before anybody could look; one that only looks whether anybody is there is not."""
    with Client(daemon.directory) as client, socket.socket(socket.AF_UNIX) as curious, socket.socket(socket.AF_UNIX) as stranger:
        curious.connect(str(daemon.directory / "control.sock"))
        curious.close()
        stranger.settimeout(5.0)
        stranger.connect(str(daemon.directory / "control.sock"))
        stranger.sendall(said)
        with contextlib.suppress(ConnectionResetError):
            while stranger.recv(100):
                pass
        audit = daemon.directory / "logs" / "audit.log"
        await_true(lambda: audit.exists() and "handshake" in audit.read_text(), "it is written down")
        assert client.call(requests.Status()) == INFO
    (line,) = audit.read_text().splitlines()
    assert re.search(rf'Z refused (uid={os.geteuid()} pid={os.getpid()} )?what="handshake" why="{why}"$', line), line


def test_a_body_above_the_limit_costs_its_sender_the_connection(daemon: Daemon) -> None:
    """The connection goes (MAXMSGSIZE); the bus does not hold the bytes, and others are served."""
    with RawClient(daemon.directory, "data") as client, Client(daemon.directory) as other:
        client.hello()
        before = _resident(daemon)
        client.socket.send_multipart([encode_header(Header(VERSION, Kind.PUBLISH, bytes(24), topic="a")), bytes(BODY_LIMIT + 1)])
        for _ in range(20):
            assert other.call(requests.Status()) == INFO
        assert _resident(daemon) - before < 32 * 1024 * 1024


def _resident(daemon: Daemon) -> int:
    assert daemon.bus is not None
    return int(Path(f"/proc/{daemon.bus.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_a_slow_subscriber_loses_publications_and_is_told(daemon: Daemon) -> None:
    """Its queue is bounded; publishers and other subscribers are not held up; the losses are counted where they happen and told to whom they concern."""
    count = 12_000
    with RawClient(daemon.directory, "data") as slow, Client(daemon.directory) as quick, Client(daemon.directory, timeout=60) as speaker:
        slow.hello(credit=10)
        slow.say(Kind.SUBSCRIBE, topic="flood/#")
        assert slow.hear()[0].kind == Kind.ACK
        quick.subscribe("flood/last")
        before = time.monotonic()
        for number in range(count):
            speaker.publish("flood/one", str(number).encode())
        assert time.monotonic() - before < 25.0, "a publisher waited for something other than room (a PING would wake it at 30 s)"
        speaker.publish("flood/last")
        assert quick.receive().topic == "flood/last"
        await_true(lambda: speaker.bus_status()["counters"]["published"] == count + 1, "all were published")
        status = speaker.bus_status()
        assert status["queued"] <= 10_000
        dropped = status["counters"]["dropped"]
        assert dropped == count + 1 - 10_000 - 10
        assert [int(slow.hear()[1]) for _ in range(10)] == list(range(10))
        slow.say(Kind.CREDIT, encode_body(2), id=b"")
        headers = [slow.hear() for _ in range(3)]
        assert [header.kind for header, _ in headers] == [Kind.PUBLISH, Kind.LOST, Kind.PUBLISH]
        assert decode_body(headers[1][1], int) == dropped


def test_a_sender_is_told_when_a_queue_is_full(daemon: Daemon) -> None:
    """Back-pressure is a refusal with the numbers, not a silent drop; a SEND goes to disk before that."""
    identity = daemon.kernel.enroll(1001)
    with (
        RawClient(daemon.directory, "data") as receiver,
        RawClient(daemon.directory, "data") as one,
        RawClient(daemon.directory, "data") as two,
    ):
        receiver.hello(identity, credit=0)
        one.hello()
        two.hello()
        for _ in range(10_000):
            one.say(Kind.REQUEST, to="1001", topic="t", deadline=60_000)
        one.say(Kind.REQUEST, to="1001", topic="t", deadline=60_000)
        assert trouble_of(one.hear()[1]).startswith('cannot ask "1001": 10000 messages of "client/')
        two.say(Kind.REQUEST, to="1001", topic="t", deadline=60_000)
        assert trouble_of(two.hear()[1]) == 'cannot ask "1001": 10000 messages wait for it, at most 10000 may'


def test_a_client_that_does_not_read_its_answers_is_cut(daemon: Daemon) -> None:
    """What it does not take waits for it, and then the connection goes; nobody else notices."""
    with RawClient(daemon.directory) as client, Client(daemon.directory) as other:
        client.socket.close()
        client.socket = client.context.socket(zmq.DEALER)
        client.socket.linger = 0
        client.socket.setsockopt(zmq.RCVHWM, 1)
        client.socket.setsockopt(
            zmq.SNDTIMEO, 10
        )  # ms: a library that may not read does not see that its connection ended, and then sends nothing either
        client.socket.connect(f"ipc://{daemon.directory / 'control.sock'}")
        client.hello()
        body = encode_body({"verb": "status"})
        end = time.monotonic() + 20
        while "does not read" not in daemon.text():  # for what waits for it, or for what that weighs
            assert time.monotonic() < end, "it was not cut"
            with contextlib.suppress(zmq.Again):
                for _ in range(200):
                    client.say(Kind.CALL, body, to="bus")
            assert other.call(requests.Status()) == INFO
    assert "cut a connection" in daemon.text()


def test_more_connections_than_descriptors_do_not_kill_the_bus(no_leaks: None) -> None:
    """The library would abort: what one process may not have is cut, and the door is shut for a while if they come faster than that."""
    with Daemon(files=256) as daemon:
        strangers: list[socket.socket] = []
        with Client(daemon.directory) as client:
            for _ in range(400):
                stranger = socket.socket(socket.AF_UNIX)
                stranger.settimeout(0.5)
                with contextlib.suppress(OSError):
                    stranger.connect(str(daemon.directory / "control.sock"))
                strangers.append(stranger)
            assert client.call(requests.Status()) == INFO
            assert _cut(strangers) >= 400 - 12
            for stranger in strangers:
                stranger.close()
            await_true((daemon.directory / "control.sock").exists, "the door opens again")
            with Client(daemon.directory, start_timeout=5.0) as another:
                assert another.call(requests.Status()) == INFO
        assert daemon.bus is not None
        assert daemon.bus.poll() is None
        assert f"connections of process {os.getpid()}, at most 12 may be" in daemon.text()


def test_a_door_that_is_full_of_many_is_shut_and_opens_again() -> None:
    """Before libzmq would abort for want of descriptors."""
    program = "import socket, sys, time; s = [socket.socket(socket.AF_UNIX) for _ in range(12)]; [one.connect(sys.argv[1]) for one in s]; print('on', flush=True); time.sleep(60)"
    crowd = []
    with Daemon(files=256) as daemon:
        path = daemon.directory / "control.sock"
        try:
            while path.exists():
                one = subprocess.Popen([sys.executable, "-S", "-c", program, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                crowd.append(one)
                assert one.stdout is not None
                one.stdout.readline()
                assert len(crowd) < 30
            await_true(lambda: "shut the control door" in daemon.text(), "people are told")
        finally:
            for one in crowd:
                one.kill()
                one.communicate()
        await_true(path.exists, "the door opens again")
        with Client(daemon.directory, start_timeout=5.0) as client:
            assert client.call(requests.Status()) == INFO


def _cut(strangers: list[socket.socket]) -> int:
    """Count the connections that the other side ended, or never took."""
    ended = 0
    for stranger in strangers:
        stranger.setblocking(False)
        try:
            while True:
                if not stranger.recv(1000):
                    ended += 1
                    break
        except BlockingIOError:
            continue
        except OSError:
            ended += 1
    return ended
