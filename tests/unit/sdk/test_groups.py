"""Groups as a process holds them, against a kernel that is a few lines long."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from dadms_ipc import port
from dadms_ipc.channel import Channel
from dadms_ipc.errors import RequestRefused
from dadms_orchestrators.sdk.groups import GroupFailed, Progress
from dadms_orchestrators.sdk.process import Process

NIL = msgspec.Raw(b"\xc0")


class SmallKernel(threading.Thread):
    """Accepts what is submitted, and ends threads as their arguments say."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__(daemon=True)
        self.channel: Channel[Any] = Channel(end, port.FromProcess)
        self.steered: list[tuple[str, str, int]] = []
        self.submitted: list[port.Submit] = []
        self.open: list[int] = []
        self.results = 0

    def run(self) -> None:
        tid = 1
        while (frame := self.channel.receive(10.0)) is not None:
            match frame.body:
                case port.Submit() as request:
                    self.submitted.append(request)
                    self.channel.send(port.Accepted(request.sequence, tid))
                    for status in map(msgspec.msgpack.decode, request.arguments):
                        if status == "open":
                            self.open.append(tid)
                        else:
                            self.end(tid, status)
                        tid += 1
                case port.Steer() as order:
                    self.steered.append((order.verb, order.group, order.value))
                    if order.verb == "kill":
                        for each in self.open:
                            self.end(each, "terminated")
                case port.Outcome():
                    return

    def end(self, tid: int, status: str) -> None:
        self.results += 1
        self.channel.send(port.Finished(self.results, [port.Result(tid, status, NIL, message="no")]))


@pytest.fixture
def made() -> Iterator[tuple[Process, SmallKernel]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kernel = SmallKernel(theirs)
    kernel.start()
    process = Process(ours, port.Gate(1001, 1, b"s" * 32, "p", msgspec.Raw(b"\x80"), "", "", "/", 5.0))
    yield process, kernel
    process.outcome("completed", {})
    kernel.join(10.0)
    process.close()
    kernel.channel.close()


def heard(process: Process, kernel: SmallKernel) -> SmallKernel:
    """Give the kernel once it has read everything."""
    process.outcome("completed", {})
    kernel.join(10.0)
    return kernel


def test_a_group_waits_at_its_end_and_counts(made: tuple[Process, SmallKernel]) -> None:
    process, kernel = made
    with process.group("g") as group:
        handles = [group.create("work", status) for status in ("completed", "error", "completed")]
        group.set_priority(5)
    assert [handle.status for handle in handles] == ["completed", "error", "completed"]
    assert group.progress() == Progress(3, 2, 1)
    assert group.progress().open == 0
    assert {request.group for request in heard(process, kernel).submitted} == {"g"}
    assert kernel.steered == [("priority", "g", 5)]


def test_an_exception_in_the_block_cancels_what_is_open(made: tuple[Process, SmallKernel]) -> None:
    process, kernel = made
    with pytest.raises(ZeroDivisionError), process.group("g") as group:  # noqa: PT012 -- the block is what is tested
        handle = group.create("work", "open")
        group.suspend()
        group.resume()
        raise ZeroDivisionError
    assert handle.status == "terminated"
    assert heard(process, kernel).steered == [("suspend", "g", 0), ("resume", "g", 0), ("kill", "g", 0)]


def test_a_group_that_a_failure_cancels_says_what_failed(made: tuple[Process, SmallKernel]) -> None:
    process, kernel = made
    with (  # noqa: PT012 -- the block is what is tested
        pytest.raises(GroupFailed, match='group "g" failed: thread 1 ended as error: no') as raised,
        process.group("g", cancel_on_failure=True) as group,
    ):
        group.create("work", "error")
        assert group.wait(timeout=10.0)
        with pytest.raises(RequestRefused, match='cannot create a thread in group "g": thread 1 of it failed'):
            group.create("work", "completed")
    assert [failure.tid for failure in raised.value.failures] == [1]
    assert heard(process, kernel).submitted[0].cancels


def test_threads_of_different_groups_do_not_travel_together(made: tuple[Process, SmallKernel]) -> None:
    process, kernel = made
    groups = [process.group(name) for name in ("a", "b")]
    handles = [group.create("work", "completed") for _ in range(10) for group in groups]
    handles.append(process.create("work", "completed"))
    assert process.wait(handles, timeout=10.0)
    assert [len(group.handles) for group in groups] == [10, 10]
    counts: dict[str, int] = {}
    for request in heard(process, kernel).submitted:
        counts[request.group] = counts.get(request.group, 0) + len(request.arguments)
    assert counts == {"a": 10, "b": 10, "": 1}


def test_a_group_has_a_name(made: tuple[Process, SmallKernel]) -> None:
    with pytest.raises(RequestRefused, match="cannot make a group without a name"):
        made[0].group("")


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"arguments": []}, "no arguments are given, and each would be a thread; [None] is one thread without any"),
        ({"arguments": [1], "labels": ["a", "b"]}, "2 labels for 1 arguments"),
        ({"arguments": [1, 2, 3], "keys": ["a"]}, "1 keys for 3 arguments"),
    ],
)
def test_a_submission_that_is_none_is_refused_at_the_call(made: tuple[Process, SmallKernel], how: dict[str, Any], reason: str) -> None:
    process, kernel = made
    with pytest.raises(RequestRefused) as told:
        process.submit("work", **how)
    assert str(told.value) == f'cannot submit "work": {reason}'
    assert heard(process, kernel).submitted == []


@pytest.mark.parametrize("count", [0, -1, 3])
def test_more_threads_than_there_are_or_none_are_not_waited_for(made: tuple[Process, SmallKernel], count: int) -> None:
    process, _ = made
    handles = [process.create("work", "completed") for _ in range(2)]
    with pytest.raises(RequestRefused, match=f"cannot wait for {count} of 2 threads"):
        process.wait(handles, count=count, timeout=10.0)
    assert process.wait(handles, count=2, timeout=10.0)
    assert process.wait([]), "all of none have ended"
