"""Who had a connection cut for its violations is trusted with fewer for a while; nobody else is."""

import pytest

from dadmsd.bus.core.events import Cut, Received, Who
from dadmsd.bus.core.offenders import MOST, PROBATION, Offenders
from dadmsd.bus.core.state import Bounds
from tests.unit.bus.room import Guest, Room

MANY, FEW = Bounds().violations, Bounds().violations_again


def _violations(guest: Guest) -> int:
    """Give how many violations a connection had before it was cut."""
    count = 0
    while not guest.is_cut:
        guest.frames(b"\xc1", b"")
        count += 1
    return count


def test_who_was_cut_is_cut_sooner_until_its_probation_is_over() -> None:
    """Each further cut begins it anew."""
    room = Room()
    assert [_violations(room.guest()) for _ in range(3)] == [MANY, FEW, FEW]
    room.pass_time(PROBATION - 1)
    assert _violations(room.guest()) == FEW
    room.pass_time(PROBATION - 1)
    assert _violations(room.guest()) == FEW
    room.pass_time(PROBATION + 1)
    assert _violations(room.guest()) == MANY


@pytest.mark.parametrize(
    "other",
    [Who(1000, 4243), Who(1001, 4242), Who(-1, -1, (), "key", "public", "10.0.0.1")],
    ids=["another process", "another user", "over a network"],
)
def test_others_are_trusted_as_before(other: Who) -> None:
    room = Room()
    _violations(room.guest())
    guest = room.guest()
    guest.who = other
    assert _violations(guest) == MANY


def test_a_connection_that_was_there_has_its_own_count() -> None:
    """Nine violations on one that goes on, however often its process was cut elsewhere."""
    room = Room()
    member = room.member()
    for _ in range(FEW - 1):
        member.frames(b"\xc1", b"")
    _violations(room.guest())
    _violations(room.guest())
    member.take()
    member.hello()
    assert not member.is_cut


def test_a_connection_that_is_cut_for_violations_rests_first() -> None:
    """Others are cut at once: who chose its routing id here."""
    room = Room()
    guest = room.guest()
    for _ in range(MANY - 1):
        guest.frames(b"\xc1", b"")
    effects = room.do(Received(guest.peer, guest.uid, 4242, [b"\xc1", b""]))
    assert [effect.rest for effect in effects if isinstance(effect, Cut)] == [Bounds().rest]
    chosen = room.guest()
    chosen.peer = chosen.peer._replace(route=b"chosen")
    room.guests[chosen.peer] = chosen
    effects = room.do(Received(chosen.peer, chosen.uid, 4242, [b"\xc1", b""]))
    assert [effect.rest for effect in effects if isinstance(effect, Cut)] == [0.0]


def test_offenders_are_bounded() -> None:
    """The oldest is forgotten, not the one that goes on."""
    offenders = Offenders(Bounds())
    offenders.note(Who(1, 1), 0.0)
    offenders.note(Who(1, 2), 0.0)
    offenders.note(Who(1, 1), 1.0)
    for pid in range(MOST - 1):
        offenders.note(Who(2, pid), 2.0)
    assert [offenders.most(Who(1, pid), 3.0) for pid in (1, 2)] == [FEW, MANY]
