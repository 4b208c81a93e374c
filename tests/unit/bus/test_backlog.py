"""What waits for connections whose pipes are full, over a pipe that a test opens and shuts."""

from dadmsd.bus.backlog import LATE, LATE_BYTES, LOOK, LOOK_LAST, PATIENCE, Backlog
from dadmsd.bus.core.events import Body

ONE, TWO = b"\0one", b"\0two"


class Pipes:
    """Takes as many messages for a route as there is room for; a route without an entry is gone."""

    def __init__(self) -> None:
        self.room = {ONE: 0, TWO: 0}
        self.taken: list[tuple[bytes, bytes, Body]] = []

    def send(self, route: bytes, header: bytes, body: Body) -> bool | None:
        """Take a message if there is room."""
        if route not in self.room:
            return False
        if not self.room[route]:
            return None
        self.room[route] -= 1
        self.taken.append((route, header, body))
        return True


def test_what_waits_goes_out_in_its_order_when_there_is_room() -> None:
    """And nothing is left to look at afterwards."""
    pipes = Pipes()
    waiting = Backlog(pipes.send)
    assert waiting.next_look is None
    for header in (b"1", b"2", b"3"):
        assert waiting.add(ONE, header, b"", 0.0)
    assert ONE in waiting.lines
    assert waiting.next_look == LOOK
    pipes.room[ONE] = 2
    assert list(waiting.send(1.0)) == []
    assert [header for _, header, _ in pipes.taken] == [b"1", b"2"]
    assert waiting.next_look == 1.0 + LOOK
    pipes.room[ONE] = 2
    assert list(waiting.send(2.0)) == []
    assert [header for _, header, _ in pipes.taken] == [b"1", b"2", b"3"]
    assert ONE not in waiting.lines
    assert waiting.next_look is None


def test_who_takes_nothing_for_too_long_is_told_of_and_nobody_else() -> None:
    """Again each time that it has had as long once more: it may be let live."""
    pipes = Pipes()
    waiting = Backlog(pipes.send)
    waiting.add(ONE, b"1", b"", 0.0)
    waiting.add(TWO, b"1", b"", 0.0)
    waiting.add(TWO, b"2", b"", 0.0)
    pipes.room[TWO] = 1
    assert list(waiting.send(PATIENCE / 2)) == []
    assert list(waiting.send(PATIENCE)) == [(ONE, False)]
    assert list(waiting.send(PATIENCE * 1.25)) == []
    assert list(waiting.send(PATIENCE * 1.5)) == [(TWO, False)]
    assert list(waiting.send(PATIENCE * 2)) == [(ONE, False)]


def test_who_is_gone_is_told_of_once() -> None:
    """What waited for it is dropped."""
    pipes = Pipes()
    waiting = Backlog(pipes.send)
    waiting.add(ONE, b"1", b"", 0.0)
    waiting.add(TWO, b"1", b"", 0.0)
    del pipes.room[ONE]
    waiting.forget(TWO)
    assert list(waiting.send(1.0)) == [(ONE, True)]
    assert waiting.next_look is None


def test_the_looks_grow_rare_while_nobody_takes_anything() -> None:
    """A suspended process may leave its pipe full for hours."""
    pipes = Pipes()
    waiting = Backlog(pipes.send)
    waiting.add(ONE, b"1", b"", 0.0)
    waiting.add(ONE, b"2", b"", 0.0)
    intervals = []
    for _ in range(10):
        now = waiting.next_look or 0.0
        list(waiting.send(now))
        intervals.append(round((waiting.next_look or 0.0) - now, 6))
    assert intervals[:3] == [2 * LOOK, 4 * LOOK, 8 * LOOK]
    assert intervals[-1] == LOOK_LAST
    pipes.room[ONE] = 1
    list(waiting.send(2.0))
    assert waiting.next_look == 2.0 + LOOK


def test_too_much_is_not_taken() -> None:
    """Neither in bytes, one message excepted, nor in messages."""
    waiting = Backlog(Pipes().send)
    assert waiting.add(ONE, b"", bytes(LATE_BYTES + 1), 0.0)
    assert not waiting.add(ONE, b"", b"x", 0.0)
    for _ in range(LATE):
        assert waiting.add(TWO, b"", b"", 0.0)
    assert not waiting.add(TWO, b"", b"", 0.0)
