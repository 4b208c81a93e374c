"""Peers that read late, or never: what was sent to the one waits for it and arrives once, the other is cut; nobody else notices either."""

import zmq

from dadms_ipc.codec import BATCHED_BODY
from dadms_ipc.envelope import OK, Kind
from dadmsd.bus import doors
from tests.fault.bus.raw import RawClient
from tests.integration.bus.daemon import Daemon

MANY = 2 * doors.SNDHWM  # messages: more than the bus's socket, this machine's buffers and the reader's socket take together
BODY = bytes(BATCHED_BODY + 1)  # bytes: too large to share a message with others
SMALL = bytes(2048)  # bytes: so many of them may be in flight


def deaf(client: RawClient, daemon: Daemon) -> None:
    """Give a raw client a socket that takes next to nothing while its program does not read."""
    client.socket.close()
    client.socket = client.context.socket(zmq.DEALER)
    client.socket.linger = 0
    client.socket.setsockopt(zmq.RCVHWM, 1)
    client.socket.connect(f"ipc://{daemon.directory / 'data.sock'}")


def test_messages_wait_for_a_receiver_that_reads_late(daemon: Daemon) -> None:
    """It gave credit for all of them; a cut connection would have them handed out again, into the same full socket, for ever."""
    with RawClient(daemon.directory, "data") as sender, RawClient(daemon.directory, "data") as receiver:
        deaf(receiver, daemon)
        address = receiver.hello(credit=MANY).to
        sender.hello()
        sent = []
        for _ in range(MANY):
            sent.append(sender.say(Kind.SEND, SMALL, to=address, topic="t", deadline=60_000))
            sender.say(Kind.SUBSCRIBE, topic="after")
            assert sender.hear()[0].kind == Kind.ACK  # the bus has handed it out, in a message of its own
        heard = []
        for _ in range(MANY):
            header, body = receiver.hear()
            assert body == SMALL
            heard.append(header.id)
            receiver.say(Kind.ACK, id=b"", topic=OK, correlation=header.id)
        assert heard == sent
        assert [sender.hear()[0].correlation for _ in range(MANY)] == sent
    assert "cut a connection" not in daemon.text()


def test_answers_wait_for_a_sender_that_reads_late(daemon: Daemon) -> None:
    """Answers need no credit: who has asked much and does something else before it reads finds them all."""
    with RawClient(daemon.directory, "data") as sender, RawClient(daemon.directory, "data") as receiver:
        deaf(sender, daemon)
        address = receiver.hello(credit=MANY).to
        sender.hello()
        sent = [sender.say(Kind.REQUEST, to=address, topic="t", deadline=60_000) for _ in range(MANY)]
        for identifier in sent:
            assert receiver.hear()[0].id == identifier
            receiver.say(Kind.RESPONSE, BODY, id=b"", topic=OK, correlation=identifier)
        receiver.say(Kind.SUBSCRIBE, topic="after")
        assert receiver.hear()[0].kind == Kind.ACK
        assert [sender.hear()[0].correlation for _ in range(MANY)] == sent
    assert "cut a connection" not in daemon.text()
