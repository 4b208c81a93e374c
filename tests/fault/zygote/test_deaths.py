"""Kernels and zygotes that die, and 1000 children that end while nobody listens: nothing is forked twice, lost, leaked or left a zombie."""

import os
import select
import signal
from pathlib import Path

import msgspec
import pytest

from dadms_ipc.port import Hello as PortHello
from dadms_ipc.port import Outcome
from dadmsd.worker import messages as worker
from dadmsd.zygote.messages import Exited, Forked, Greeting, Hello, Imported, Reap
from tests.integration.zygote.small_kernel import PATIENCE, Kernel, Zygote, collect, run_batch


def descriptors(os_pid: int) -> int:
    return len(list(Path(f"/proc/{os_pid}/fd").iterdir()))


def zombies(os_pid: int) -> list[int]:
    children = [int(pid) for pid in Path(f"/proc/{os_pid}/task/{os_pid}/children").read_text().split()]
    return [pid for pid in children if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"]


def version_pid(base: Zygote) -> int:
    forked = base.kernel.children["zygote/1"].forked
    assert forked is not None
    return forked.os_pid


def test_200_children_leave_no_descriptor_and_no_zombie(base: Zygote, tmp_path: Path) -> None:
    kernel = base.version_kernel()
    os_pid = version_pid(base)
    before = descriptors(os_pid)
    for start in range(0, 200, 50):
        children = [kernel.ask(f"1001.1/w{number}", "worker") for number in range(start, start + 50)]
        for child in children:
            if child.forked is None:
                kernel.await_fork(child)
        assert descriptors(os_pid) == before + 50  # a pidfd each
        for child in children:
            child.kill()
        for child in children:
            if (exited := kernel.expect(Exited)).name:
                kernel.reap(exited.name)
            child.await_exit()
            _forget(kernel, child.name)
        assert kernel.hello().children == 0
        assert zombies(os_pid) == []
    assert descriptors(os_pid) == before


def _forget(kernel: Kernel, name: str) -> None:
    child = kernel.children.pop(name)
    os.close(child.pidfd)
    os.close(child.log)
    child.port.close()
    if child.page is not None:
        child.page.close()
        os.close(child.page_fd)


def test_the_next_kernel_is_told_everything_and_adopts_what_lives(base: Zygote, tmp_path: Path) -> None:
    kernel = base.version_kernel()
    living = kernel.start_worker("1001.1/w1", tmp_path)
    dead = kernel.fork("1001.1/w2", "worker")
    dead.kill()
    dead.await_exit()
    successor = Kernel(base.kernel.children["zygote/1"].port._sock.dup(), epoch=2)
    kernel.control.close()
    greeting = successor.hello()
    assert (greeting.name, greeting.children) == ("zygote/1", 2)
    assert successor.expect(Imported).version == "3.2.1"
    told = {successor.expect(Forked) for _ in range(2)}
    assert told == {living.forked, dead.forked}
    assert successor.expect(Exited).name == "1001.1/w2"
    successor.control.close()


def test_what_a_dead_kernel_asked_for_before_it_died_is_forked_once(base: Zygote) -> None:
    """Its request is still in the socket when the next kernel repeats it."""
    version_kernel = base.version_kernel()
    os_pid = version_pid(base)
    os.kill(os_pid, signal.SIGSTOP)
    version_kernel.ask("1001.1", "main")
    successor = Kernel(base.kernel.children["zygote/1"].port._sock.dup(), epoch=2)
    version_kernel.control.close()
    successor.control.send(Hello())
    repeated = successor.ask("1001.1", "main")
    os.kill(os_pid, signal.SIGCONT)
    successor.expect(Greeting)
    successor.await_fork(repeated)
    assert successor.hello().children == 1
    first = version_kernel.children["1001.1"]
    assert repeated.forked is not None
    assert Path(f"/proc/{repeated.forked.os_pid}").exists()
    with pytest.raises(Exception, match="its end"):  # the repetition's descriptors were closed; the child has the first ones
        repeated.port.receive(PATIENCE)
    assert first.port.receive(0.0) is None
    repeated.kill()
    repeated.await_exit()
    _forget(successor, "1001.1")
    successor.control.close()


def test_1000_exits_while_no_kernel_reads_are_all_told(base: Zygote) -> None:
    """More than a socket holds: what does not fit stays due, and the next kernel is told all of it."""
    kernel = base.version_kernel()
    os_pid = version_pid(base)
    count = 1000
    pids: list[int] = []
    for start in range(0, count, 50):
        names = [f"1001.1/w{number}" for number in range(start, start + 50)]
        for name in names:
            kernel.ask(name, "main")
        for name in names:
            child = kernel.children[name]
            if child.forked is None:
                kernel.await_fork(child)
            assert child.forked is not None
            pids.append(child.forked.os_pid)
            child.port.close()  # at its gate it exits for that
            os.close(child.log)
            os.close(child.pidfd)
            del kernel.children[name]
    _await_zombies(os_pid, count)
    before = _memory_kb(os_pid)
    successor = Kernel(base.kernel.children["zygote/1"].port._sock.dup(), epoch=2)
    kernel.control.close()
    assert successor.hello().children == count
    told = {successor.expect(Exited).os_pid for _ in range(count)}
    assert told == set(pids)
    for number in range(count):
        successor.reap(f"1001.1/w{number}")
        successor.control.flush()
    while successor.control.waits_to_write:
        select.select([], [successor.control], [], PATIENCE)
        successor.control.flush()
    assert successor.hello().children == 0
    assert zombies(os_pid) == []
    assert _memory_kb(os_pid) < before + 10_000
    successor.control.close()


def _await_zombies(os_pid: int, count: int) -> None:
    for entry in zombies_or_living(os_pid):
        pidfd = os.pidfd_open(entry)
        assert select.select([pidfd], [], [], PATIENCE)[0]
        os.close(pidfd)
    assert len(zombies(os_pid)) == count


def zombies_or_living(os_pid: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{os_pid}/task/{os_pid}/children").read_text().split()]


def _memory_kb(os_pid: int) -> int:
    line = next(line for line in Path(f"/proc/{os_pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


def test_children_outlive_their_zygote_and_their_ports_work(base: Zygote, tmp_path: Path) -> None:
    kernel = base.version_kernel()
    child = kernel.start_worker("1001.1/w1", tmp_path)
    main = kernel.start_main("1001.1", tmp_path, config={"wait": True, "exit": 4})
    base.kernel.children["zygote/1"].kill()
    assert base.kernel.expect(Exited).status == signal.SIGKILL
    assert [outcome.status for outcome in run_batch(child, 1, [("echo", 1)])] == ["completed"]
    main.port.send(PortHello())  # anything at all ends its wait
    assert main.expect(Outcome).status == "completed"
    main.await_exit()
    child.port.send(worker.Finish())
    child.await_exit()


def test_the_base_zygote_dies_and_its_zygotes_live(base: Zygote, tmp_path: Path) -> None:
    kernel = base.version_kernel()
    base.process.kill()
    base.process.wait(PATIENCE)
    child = kernel.start_worker("1001.1/w1", tmp_path)
    assert [outcome.status for outcome in run_batch(child, 1, [("echo", 1)])] == ["completed"]


def test_a_zygote_that_is_told_to_reap_twice_by_two_kernels_reaps_once(base: Zygote) -> None:
    kernel = base.version_kernel()
    child = kernel.fork("1001.1", "main")
    child.kill()
    kernel.exited(child)
    kernel.reap("1001.1")
    kernel.control.epoch = 2
    kernel.control.send(Reap("1001.1"))
    assert kernel.hello().children == 0
    again = kernel.ask("1001.1", "main")  # the name is free again
    _forget_partly(child.pidfd, child.log)
    child.port.close()
    assert kernel.await_fork(again).forked != child.forked


def _forget_partly(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def test_results_are_collected_after_the_zygote_and_the_kernel_died(base: Zygote, tmp_path: Path) -> None:
    kernel = base.version_kernel()
    child = kernel.start_worker("1001.1/w1", tmp_path)
    child.port.send(worker.Batch(1, [worker.Item(1, "echo", msgspec.Raw(b"\x07"))]))
    base.kernel.children["zygote/1"].kill()
    kernel.control.close()
    assert [bytes(outcome.value) for outcome in collect(child, 1)] == [b"\x07"]
