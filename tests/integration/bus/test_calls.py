"""Requests to the kernel, through a real bus and a real link."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dadms_ipc import requests
from dadms_ipc.client import Client
from dadms_ipc.dialogue import OPEN_MESSAGES
from dadms_ipc.errors import DeadlinePassed, HostFailure, PeerViolation, RequestRefused, Unreachable
from tests.integration.bus.daemon import INFO, Daemon, await_true


def test_a_call_is_answered_with_the_type_that_its_request_names(daemon: Daemon) -> None:
    """A status without a pid is a DaemonInfo."""
    with Client(daemon.directory) as client:
        assert client.call(requests.Status()) == INFO


def test_the_kernel_is_told_who_asks(daemon: Daemon) -> None:
    """The uid and the role come from the operating system's word, not the client's."""
    with Client(daemon.directory) as client:
        client.call(requests.Status())
        assert client.role == "admin"
    request = daemon.kernel.requests[0]
    assert (request.uid, request.role, request.origin) == (os.geteuid(), "admin", f"uid {os.geteuid()} pid {os.getpid()}")
    assert len(request.client) == 16


def test_sequences_of_a_client_never_repeat(daemon: Daemon) -> None:
    """Each new request has a new sequence: the kernel deduplicates by it."""
    with Client(daemon.directory) as client:
        for _ in range(3):
            client.call(requests.Spawn(requests.Spec("a", "bpmn")))
    sequences = [request.sequence for request in daemon.kernel.requests]
    assert sorted(set(sequences)) == sequences


def test_a_refusal_of_the_kernel_carries_its_reason(daemon: Daemon) -> None:
    """The status of the reply decides the class of the error."""
    with Client(daemon.directory) as client, pytest.raises(RequestRefused, match="cannot do"):
        client.call(requests.Kill(7))


@pytest.mark.parametrize(
    ("work", "text"),
    [
        (lambda client: client.send("1001", b"text"), "topic is bytes, and is to be str"),
        (lambda client: client.send(1001, "NOTE"), "to is int, and is to be str"),
        (lambda client: client.send("1001", "NOTE", "text"), "body is str, and is to be bytes"),
        (lambda client: client.send_many("1001", "NOTE", [b"", {}]), "body is dict, and is to be bytes"),
        (lambda client: client.request("1001", {"a": 1}), "body is dict, and is to be bytes"),
        (lambda client: client.publish("a/b", {"a": 1}), "body is dict, and is to be bytes"),
        (lambda client: client.publish(b"a/b"), "topic is bytes, and is to be str"),
    ],
)
def test_what_is_no_text_or_no_bytes_is_told_at_the_call(daemon: Daemon, work: Callable[[Any], object], text: str) -> None:
    """And the client works on."""
    with Client(daemon.directory) as client:
        with pytest.raises(TypeError, match=f"^{text}"):
            work(client)
        assert client.call(requests.Status()) == INFO


def test_many_calls_are_answered_in_their_order_and_a_refusal_stands_in_its_place(daemon: Daemon) -> None:
    """More than may be under way at a time: each is asked once, and what came to nothing ends none of the others."""
    wanted: list[requests.Request] = [requests.Spawn(requests.Spec(f"a{number}", "bpmn")) for number in range(3 * OPEN_MESSAGES)]
    wanted[700] = requests.Kill(7)
    with Client(daemon.directory) as client:
        answers = client.call_many(iter(wanted))
        assert client.call(requests.Status()) == INFO
    refused = answers.pop(700)
    assert isinstance(refused, RequestRefused)
    assert "cannot do" in str(refused)
    assert answers == [{"pid": pid} for pid in range(1001, 1001 + len(wanted) - 1)]
    assert len(daemon.kernel.requests) == len(wanted) + 1


def test_of_many_calls_those_pass_their_deadline_that_have_no_answer(daemon: Daemon) -> None:
    """A wait is parked, and the answers to the others come meanwhile."""
    with Client(daemon.directory) as client:
        first, waited, last = client.call_many([requests.Status(), requests.Wait(1001, timeout=0.0), requests.Status()], timeout=0.2)
        assert (first, last) == (INFO, INFO)
        assert isinstance(waited, DeadlinePassed)
        await_true(lambda: client.bus_status()["calls"] == 0, "the bus drops the expired call")


def test_many_calls_outlive_the_bus_and_take_effect_once(daemon: Daemon) -> None:
    """The bus dies when all have taken effect and none is answered."""
    daemon.kernel.is_mute.set()
    with Client(daemon.directory, timeout=20.0) as client, ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(client.call_many, [requests.Spawn(requests.Spec("a", "bpmn"))] * 300)
        await_true(lambda: len(daemon.kernel.journal) == 300, "every request took effect, and no answer was given")
        daemon.kernel.is_mute.clear()
        daemon.kill_bus()
        daemon.start_bus()
        assert under_way.result(20.0) == [{"pid": pid} for pid in range(1001, 1301)]


def test_an_unanswered_call_passes_its_deadline(daemon: Daemon) -> None:
    """The daemon lives, the kernel is mute: DeadlinePassed, not Unreachable; and the bus forgets the call too."""
    daemon.kernel.is_mute.set()
    with Client(daemon.directory) as client:
        before = time.monotonic()
        with pytest.raises(DeadlinePassed, match=r"0\.2 s"):
            client.call(requests.Status(), timeout=0.2)
        assert time.monotonic() - before < 2.0
        await_true(lambda: client.bus_status()["calls"] == 0, "the bus drops the expired call")


def test_without_a_daemon_the_error_says_where_it_looked(short_path: Path) -> None:
    """The message names the directory and the missing socket, and comes at once."""
    before = time.monotonic()
    with pytest.raises(Unreachable, match=f'cannot reach a daemon on "{short_path}": control.sock is missing'):
        Client(short_path)
    assert time.monotonic() - before < 2.0


def test_a_socket_without_a_bus_is_told_from_a_missing_one(short_path: Path) -> None:
    """A daemon that was killed leaves its socket behind."""
    (short_path / "control.sock").touch()
    with pytest.raises(Unreachable, match=r"control.sock is there, but nobody spoke in 0\.2 s"):
        Client(short_path, timeout=0.2)


def test_a_directory_too_long_for_sockets_is_said_so(short_path: Path) -> None:
    """unix(7) limits the path; libzmq's own word for it helps nobody."""
    with pytest.raises(HostFailure, match="at most 107"):
        Client(short_path / ("x" * 120))


def test_a_call_too_large_is_refused_before_it_is_sent(daemon: Daemon) -> None:
    """The control door's bound is stated with the numbers."""
    with Client(daemon.directory) as client:
        config = msgspec.Raw(msgspec.msgpack.encode({"model": b"x" * (16 * 1024 * 1024)}))
        with pytest.raises(RequestRefused, match="at most 16777216"):
            client.call(requests.Spawn(requests.Spec("a", "bpmn", config)))
        assert client.call(requests.Status()) == INFO


def test_a_call_of_megabytes_reaches_the_kernel(daemon: Daemon) -> None:
    """A configuration may carry a model: it crosses the link in a memfd."""
    config = msgspec.Raw(msgspec.msgpack.encode({"model": b"x" * (3 * 1024 * 1024)}))
    with Client(daemon.directory) as client:
        assert client.call(requests.Spawn(requests.Spec("a", "bpmn", config)))["pid"] == 1001
    assert len(daemon.kernel.requests[0].body) > 3 * 1024 * 1024


def test_calls_wait_for_a_kernel_that_is_away(daemon: Daemon) -> None:
    """The bus keeps what the kernel has not answered and says it again to the next one."""
    daemon.kernel.is_mute.set()
    with Client(daemon.directory) as client:
        with pytest.raises(DeadlinePassed):
            client.call(requests.Status(), timeout=0.1)
        daemon.kernel.detach()
        daemon.kernel.is_mute.clear()
        daemon.kernel.epoch += 1
        result = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"from dadms_ipc.client import Client; from dadms_ipc import requests; c = Client({str(daemon.directory)!r}); c.call(requests.Status()); c.close()",
            ]
        )
        try:
            await_true(lambda: client.bus_status()["calls"] == 1, "the call waits in the bus")
            assert not client.bus_status()["is_linked"]
            daemon.link()
            assert result.wait(10) == 0
        finally:
            result.kill()
            result.wait()


def test_a_closed_client_says_so(daemon: Daemon) -> None:
    """Use after close is a mistake of the caller with a sentence of its own."""
    client = Client(daemon.directory)
    client.close()
    client.close()
    with pytest.raises(RequestRefused, match="closed"):
        client.call(requests.Status())


def test_a_client_does_not_survive_a_fork(daemon: Daemon) -> None:
    """The child is told to open its own; the parent's still works."""
    with Client(daemon.directory) as client:
        child = os.fork()
        if child == 0:
            try:
                client.call(requests.Status())
            except RequestRefused as error:
                client.close()
                os._exit(0 if "after the fork" in str(error) else 2)
            os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert client.call(requests.Status()) == INFO


def test_the_client_imports_quickly_and_little() -> None:
    """A command line starts with this import: it brings msgspec, and neither asyncio nor pyzmq, which only a daemon behind a network needs."""
    script = "import sys, {0}; print('zmq' in sys.modules, 'asyncio' in sys.modules, 'dadmsd' in sys.modules)"
    for module in ("dadms_ipc.client", "dadms_ipc.requests, dadms_ipc.session"):
        ran = subprocess.run([sys.executable, "-c", script.format(module)], capture_output=True, text=True, timeout=30, check=True)
        assert ran.stdout.strip() == "False False False"


def test_the_sockets_are_their_owners_alone(daemon: Daemon) -> None:
    """Mode 0600, whatever the umask was."""
    assert [oct((daemon.directory / name).stat().st_mode & 0o777) for name in ("control.sock", "data.sock")] == ["0o600", "0o600"]


def test_the_bus_ends_when_its_keeper_says_so_or_is_gone(daemon: Daemon) -> None:
    """Both ways give exit code 0, and the sockets go with it."""
    assert daemon.stop_bus() == 0
    assert not (daemon.directory / "control.sock").exists()
    daemon.start_bus()
    await_true((daemon.directory / "data.sock").exists, "the next bus binds")
    assert daemon.bus is not None
    daemon.close_keeper()
    assert daemon.bus.wait(10) == 0
    assert daemon.text() == ""


def test_the_bus_says_hello_to_each_kernel(daemon: Daemon) -> None:
    """The first message on a link names the bus's process."""
    await_true(lambda: len(daemon.kernel.bus_hellos) == 1, "the first hello")
    daemon.restart_kernel()
    await_true(lambda: len(daemon.kernel.bus_hellos) == 2, "the second hello")
    assert daemon.bus is not None
    assert {hello.os_pid for hello in daemon.kernel.bus_hellos} == {daemon.bus.pid}


def test_a_client_that_leaves_is_reported_to_the_kernel(daemon: Daemon) -> None:
    """Whatever waits for its sake may be dropped."""
    with Client(daemon.directory) as client:
        client.call(requests.Status())
    await_true(lambda: daemon.kernel.gone == [daemon.kernel.requests[0].client], "ClientGone")


def test_a_body_that_is_not_msgpack_never_reaches_the_kernel(daemon: Daemon) -> None:
    """It would break the frame that it is embedded in."""
    with Client(daemon.directory) as client:
        for body in (b"", b"\x81", b"\x80\x80", b"\xc1"):
            answer = client.call_raw(body)
            assert answer.status == "refused"
        assert client.call(requests.Status()) == INFO
    assert len(daemon.kernel.requests) == 1


def test_an_answer_of_the_wrong_shape_is_the_peers_mistake(daemon: Daemon) -> None:
    """Not a traceback of the decoder."""
    daemon.kernel.spawn_answer = b"\x01"
    with Client(daemon.directory) as client, pytest.raises(PeerViolation, match="cannot read the answer to Spawn"):
        client.call(requests.Spawn(requests.Spec("a", "bpmn")))
