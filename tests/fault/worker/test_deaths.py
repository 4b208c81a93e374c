"""Workers and kernels that die at every point of a thread: results in the page survive, what was begun is known, nothing begins twice."""

import os
import select
import signal
import time
from pathlib import Path

import msgspec
import pytest

from dadms_ipc.channel import Channel
from dadmsd.worker import messages as worker
from dadmsd.worker.page import Page
from tests.integration.zygote.small_kernel import PATIENCE, Child, Zygote, collect, packed, run_batch


def batch(first: int, calls: list[tuple[str, object]]) -> worker.Batch:
    return worker.Batch(first, [worker.Item(first + index, entry, packed(value)) for index, (entry, value) in enumerate(calls)])


def state_of(os_pid: int) -> str:
    return Path(f"/proc/{os_pid}/stat").read_text().rpartition(")")[2].split()[0]


def await_lines(path: Path, count: int) -> None:
    """Wait until entries have left this many lines; a change of the file is what is waited for."""
    deadline = time.monotonic() + PATIENCE
    while not path.exists() or len(path.read_text().splitlines()) < count:
        assert time.monotonic() < deadline, "the entry did not begin"
        time.sleep(0.001)


def freeze(child: Child) -> None:
    """SIGSTOP, and the wait for state T: what a host without cgroups has."""
    assert child.forked is not None
    signal.pidfd_send_signal(child.pidfd, signal.SIGSTOP)
    deadline = time.monotonic() + PATIENCE
    while state_of(child.forked.os_pid) != "T":  # its parent would be told; we are not its parent
        assert time.monotonic() < deadline, "it does not stop"
        os.sched_yield()


def test_results_written_before_a_kill_survive_and_what_had_begun_is_known(base: Zygote, tmp_path: Path) -> None:
    kernel = base.version_kernel()
    child = kernel.start_worker("1001.1/w1", tmp_path)
    assert child.page is not None
    child.port.send(batch(1, [("echo", 1), ("echo", 2), ("kill-self", None), ("echo", 4)]))
    child.await_exit()
    outcomes = child.page.read_results()
    assert [(outcome.sequence, msgspec.msgpack.decode(outcome.value)) for outcome in outcomes] == [(1, 1), (2, 2)]
    assert (child.page.begun, child.page.done) == (3, 2)  # the third is lost, the fourth has never run
    exited = kernel.exited(child)
    assert (exited.how, exited.status) == (os.CLD_KILLED, signal.SIGKILL)


@pytest.mark.parametrize("after", range(0, 40, 3))
def test_a_kill_at_any_moment_leaves_a_page_that_adds_up(base: Zygote, tmp_path: Path, after: int) -> None:
    """Every result that is there is whole and in order, and at most one thread was begun without one."""
    kernel = base.version_kernel()
    child = kernel.start_worker("1001.1/w1", tmp_path)
    assert child.page is not None
    log = tmp_path / "ran"
    child.port.send(batch(1, [("mark", {"log": str(log)})] * 40))
    await_lines(log, after)
    child.kill()
    child.await_exit()
    outcomes = child.page.read_results()
    assert [outcome.sequence for outcome in outcomes] == list(range(1, len(outcomes) + 1))
    ran = [int(line) for line in log.read_text().splitlines()] if log.exists() else []
    assert ran in (list(range(1, child.page.begun + 1)), list(range(1, child.page.begun)))
    assert len(outcomes) in (child.page.begun, child.page.begun - 1)
    assert child.page.done <= len(outcomes)


def test_a_kill_before_anything_was_begun_leaves_nothing_begun(base: Zygote, tmp_path: Path) -> None:
    kernel = base.version_kernel()
    child = kernel.start_worker("1001.1/w1", tmp_path)
    assert child.page is not None
    freeze(child)
    child.port.send(batch(1, [("echo", 1)]))
    child.kill()
    child.await_exit()
    assert (child.page.begun, child.page.seen, child.page.read_results()) == (0, 0, [])


def test_an_adopted_worker_runs_nothing_twice_and_rings_again(base: Zygote, tmp_path: Path) -> None:
    """The next kernel has the keeper's duplicates only, and sends every batch again."""
    kernel = base.version_kernel()
    child = kernel.start_worker("1001.1/w1", tmp_path)
    log, gate = tmp_path / "ran", tmp_path / "held"
    gate.touch()
    first = batch(1, [("mark", {"log": str(log)}), ("mark", {"log": str(log), "while": str(gate)}), ("mark", {"log": str(log)})])
    second = batch(4, [("mark", {"log": str(log)}), ("echo", "last")])
    child.port.send(first)
    child.port.send(second)
    await_lines(log, 2)
    kept = child.port._sock.dup()
    child.port.close()
    assert child.page is not None
    child.page.close()
    adopted = Child(child.name, Channel(kept, worker.FromWorker, epoch=2), Page.map(child.page_fd), child.page_fd, child.log)
    child.port, child.page = adopted.port, adopted.page
    adopted.port.send(worker.Hello())
    adopted.port.send(first)
    adopted.port.send(second)
    gate.unlink()
    outcomes = collect(adopted, 5)
    assert [outcome.sequence for outcome in outcomes] == [1, 2, 3, 4, 5]
    outcomes = run_batch(adopted, 6, [("echo", "new")])
    assert [outcome.sequence for outcome in outcomes] == [6]
    assert log.read_text().split() == ["1", "2", "3", "4"]


def test_a_hello_is_answered_by_a_doorbell_though_nothing_is_new(base: Zygote, tmp_path: Path) -> None:
    child = base.version_kernel().start_worker("1001.1/w1", tmp_path)
    run_batch(child, 1, [("echo", 1)])
    child.port.send(worker.Hello())
    assert child.expect(worker.Doorbell).done == 1


def test_a_batch_of_an_older_epoch_is_dropped(base: Zygote, tmp_path: Path) -> None:
    child = base.version_kernel().start_worker("1001.1/w1", tmp_path)
    child.port.epoch = 2
    child.port.send(worker.Hello())
    child.port.epoch = 1
    child.port.send(batch(1, [("kill-self", None)]))
    child.port.epoch = 2
    assert [outcome.sequence for outcome in run_batch(child, 1, [("echo", 1)])] == [1]


def test_prefetched_threads_that_are_revoked_never_run(base: Zygote, tmp_path: Path) -> None:
    """Freeze, look, revoke, thaw."""
    child = base.version_kernel().start_worker("1001.1/w1", tmp_path)
    assert child.page is not None
    log, gate = tmp_path / "ran", tmp_path / "held"
    gate.touch()
    child.port.send(batch(1, [("mark", {"log": str(log), "while": str(gate)}), ("mark", {"log": str(log)}), ("mark", {"log": str(log)})]))
    child.port.send(batch(4, [("mark", {"log": str(log)})]))
    await_lines(log, 1)
    freeze(child)
    assert child.page.revoke(1, 4) == (2, 4)
    signal.pidfd_send_signal(child.pidfd, signal.SIGCONT)
    gate.unlink()
    outcomes = run_batch(child, 5, [("mark", {"log": str(log)})], count=2)
    assert [outcome.sequence for outcome in outcomes] == [1, 5]
    assert log.read_text().split() == ["1", "5"]
    assert child.page.done == 5


def test_a_worker_whose_ring_is_full_waits_and_loses_nothing(base: Zygote, tmp_path: Path) -> None:
    child = base.version_kernel().start_worker("1001.1/w1", tmp_path)
    assert child.page is not None
    count = 20
    child.port.send(batch(1, [("bytes", 200_000)] * count))
    while not child.page.waits:
        child.expect(worker.Doorbell)
    held = [outcome.sequence for outcome in child.page.read_results()]
    assert held == list(range(1, len(held) + 1))
    assert len(held) < count
    assert [outcome.sequence for outcome in collect(child, count)] == list(range(1, count + 1))


def test_a_worker_that_waits_for_room_is_served_by_the_next_kernel(base: Zygote, tmp_path: Path) -> None:
    child = base.version_kernel().start_worker("1001.1/w1", tmp_path)
    assert child.page is not None
    child.port.send(batch(1, [("bytes", 200_000)] * 8))
    while not child.page.waits:
        child.expect(worker.Doorbell)
    child.page.close()
    child.page = Page.map(child.page_fd)
    child.port.epoch = 2
    child.port.send(worker.Hello())
    assert [outcome.sequence for outcome in collect(child, 8)] == list(range(1, 9))


def test_a_worker_ends_with_its_port(base: Zygote, tmp_path: Path) -> None:
    kernel = base.version_kernel()
    child = kernel.start_worker("1001.1/w1", tmp_path)
    child.port.close()
    assert kernel.exited(child).status == 0


def test_a_kernel_that_never_reads_stops_no_worker(base: Zygote, tmp_path: Path) -> None:
    """Doorbells that do not fit are one that waits; progress that does not fit is dropped."""
    child = base.version_kernel().start_worker("1001.1/w1", tmp_path)
    assert child.page is not None
    rounds = 700  # more doorbells than a socket holds
    for sequence in range(1, rounds + 1):
        child.port.send(batch(sequence, [("progress", None)]))
        while child.port.waits_to_write:
            select.select([], [child.port], [], PATIENCE)
            child.port.flush()
    child.port.send(worker.Finish())
    while child.port.waits_to_write:
        select.select([], [child.port], [], PATIENCE)
        child.port.flush()
    child.await_exit()
    assert [outcome.sequence for outcome in child.page.read_results()] == list(range(1, rounds + 1))


def test_garbage_on_the_port_is_dropped(base: Zygote, tmp_path: Path) -> None:
    child = base.version_kernel().start_worker("1001.1/w1", tmp_path)
    for packet in (b"\xc1", b"\x90", msgspec.msgpack.encode([1, 1, 1, ["batch", 1]])):
        child.port._sock.send(packet)
    assert [outcome.status for outcome in run_batch(child, 1, [("echo", 1)])] == ["completed"]


def test_sigterm_ends_a_worker_at_once(base: Zygote, tmp_path: Path) -> None:
    kernel = base.version_kernel()
    child = kernel.start_worker("1001.1/w1", tmp_path)
    child.port.send(batch(1, [("sleep", 60)]))
    signal.pidfd_send_signal(child.pidfd, signal.SIGTERM)
    assert kernel.exited(child).status == signal.SIGTERM
