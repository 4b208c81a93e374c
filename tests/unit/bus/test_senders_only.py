"""Sessions of a process that only send: what is for the process passes them over."""

import pytest

from dadms_ipc.envelope import OK, Kind
from tests.unit.bus.room import Room


@pytest.mark.parametrize("comes_first", [True, False])
def test_what_is_for_a_process_passes_a_session_over_that_only_sends(comes_first: bool) -> None:
    room = Room()
    identity = room.enroll(1001)
    sender = room.guest()
    receiver = room.guest()
    for guest in (sender, receiver) if comes_first else (receiver, sender):
        guest.hello(identity, receives=guest is receiver)
        guest.take()
    asker = room.member()
    asked = asker.say(Kind.REQUEST, b"x", to="1001", topic="t")
    assert (sender.take(), receiver.only()[0].id) == ([], asked)
    said = sender.say(Kind.REQUEST, b"y", to=asker_address(asker.client), topic="t")
    header, _ = asker.only()
    assert (header.sender, header.id) == ("1001", said)
    asker.say(Kind.RESPONSE, b"z", id=b"", topic=OK, correlation=said)
    assert sender.only()[1] == b"z"


def test_what_waits_for_a_process_goes_on_waiting_when_only_a_sender_comes() -> None:
    """And to the disk, as if nobody had come."""
    room = Room()
    identity = room.enroll(1001)
    asker = room.member()
    asker.say(Kind.SEND, b"x", to="1001", topic="t")
    sender = room.guest().hello(identity, receives=False)
    assert sender.kinds() == [Kind.WELCOME]
    room.pass_time(2.0)
    assert asker.only()[0].topic == "stored"
    receiver = room.guest().hello(identity)
    assert receiver.kinds() == [Kind.WELCOME, Kind.SEND]


def asker_address(client: bytes) -> str:
    """Give the address of a client."""
    return f"client/{client.hex()[:12]}"
