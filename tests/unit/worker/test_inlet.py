"""A worker's port with several who wait at it: each gets what is for it, whoever reads."""

import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from dadms_ipc.channel import Channel, pair
from dadms_ipc.context import Get, Watch
from dadms_ipc.errors import ChannelClosed, DeadlinePassed
from dadms_ipc.port import ContextAnswer, ContextCall
from dadmsd.worker.inlet import Inlet
from dadmsd.worker.messages import Consumed, Finish, FromWorker, Hello, ToWorker


class Ends:
    """An inlet, and the kernel's end of its port."""

    def __init__(self) -> None:
        ours, theirs = pair()
        self.kernel: Channel[Any] = Channel(ours, FromWorker, epoch=1)
        self.port: Channel[Any] = Channel(theirs, ToWorker)
        self.greeted = 0
        self.inlet = Inlet(self.port, self.port.send, self._greet)

    def _greet(self) -> None:
        self.greeted += 1

    def heard(self) -> ContextCall:
        """Give the next call that came to the kernel."""
        frame = self.kernel.receive(5.0)
        assert frame is not None
        assert isinstance(frame.body, ContextCall)
        return frame.body

    def answer(self, call: ContextCall, value: object) -> None:
        self.kernel.send(ContextAnswer(call.sequence, "ok", msgspec.Raw(msgspec.msgpack.encode(value))))


class Asking:
    """Somebody who calls, in a thread of its own."""

    def __init__(self, ends: Ends, key: str, seconds: float = 5.0) -> None:
        self.answer: ContextAnswer | None = None
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._ask, args=(ends, key, seconds))
        self._thread.start()

    def _ask(self, ends: Ends, key: str, seconds: float) -> None:
        try:
            self.answer = ends.inlet.call(1, Get("r", key), 0, seconds)
        except Exception as error:
            self.error = error

    def value(self) -> Any:
        self._thread.join(10.0)
        assert not self._thread.is_alive()
        assert self.answer is not None, self.error
        return msgspec.msgpack.decode(self.answer.body)

    def end(self) -> Exception | None:
        self._thread.join(10.0)
        assert not self._thread.is_alive()
        return self.error


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.kernel.close()
    made.port.close()


def test_answers_go_to_those_who_asked_in_any_order(ends: Ends) -> None:
    """One of them reads, and must not keep the others waiting for the next frame once theirs has come."""
    asking = [Asking(ends, str(number)) for number in range(8)]
    calls = {getattr(call.operation, "key", ""): call for call in (ends.heard() for _ in asking)}
    for number in reversed(range(8)):
        ends.answer(calls[str(number)], number)
    assert [each.value() for each in asking] == list(range(8))


def test_orders_that_come_while_a_thread_calls_wait_for_the_loop(ends: Ends) -> None:
    asking = Asking(ends, "a")
    call = ends.heard()
    ends.kernel.send(Consumed())
    ends.kernel.send(Finish())
    ends.answer(call, 5)
    assert asking.value() == 5
    assert [ends.inlet.order(), ends.inlet.order()] == [Consumed(), Finish()]


def test_an_answer_reaches_a_thread_while_the_loop_reads(ends: Ends) -> None:
    """A thread that an entry left behind calls while the loop waits for orders."""
    orders: list[Any] = []
    loop = threading.Thread(target=lambda: orders.append(ends.inlet.order()))
    loop.start()
    asking = Asking(ends, "a")
    ends.answer(ends.heard(), 5)
    assert asking.value() == 5
    ends.kernel.send(Finish())
    loop.join(10.0)
    assert orders == [Finish()]


def test_calls_are_repeated_to_a_new_kernel_and_stale_answers_dropped(ends: Ends) -> None:
    asking = Asking(ends, "a")
    first = ends.heard()
    ends.kernel.epoch = 2
    ends.kernel.send(Hello())
    assert ends.heard() == first
    assert ends.greeted == 1
    ends.kernel.epoch = 1
    ends.answer(first, "of the dead")
    ends.kernel.epoch = 2
    ends.answer(first, "of the living")
    assert asking.value() == "of the living"


def test_a_call_that_nobody_answers_ends_with_its_time(ends: Ends) -> None:
    with pytest.raises(DeadlinePassed, match=r"cannot watch: no kernel answered in 0\.05 s"):
        ends.inlet.call(1, Watch("r", "a", 1, 0.01), 0, 0.05)
    late = ends.heard()
    asking = Asking(ends, "b")
    assert ends.heard().seen == 0, "the answer to the first may be on its way"
    ends.answer(late, 1)
    ends.kernel.send(ContextAnswer(2, "ok", msgspec.Raw(b"\x07")))
    assert asking.value() == 7


def test_the_end_of_the_port_ends_everybodys_waiting(ends: Ends) -> None:
    asking = [Asking(ends, str(number)) for number in range(3)]
    for _ in asking:
        ends.heard()
    ends.kernel.close()
    assert all(isinstance(each.end(), ChannelClosed) for each in asking)
    with pytest.raises(ChannelClosed):
        ends.inlet.order()
