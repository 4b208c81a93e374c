"""What a zygote forks: mains, workers, commands and zygotes, each with its own descriptors, behind its gate, reaped when told."""

import os
import select
import signal
import socket
import sys
from pathlib import Path

import msgspec
import pytest

from dadms_ipc.channel import pair
from dadms_ipc.port import GateFailed as MainGateFailed
from dadms_ipc.port import Outcome, Ready
from dadmsd.worker import messages as worker
from dadmsd.zygote import exits
from dadmsd.zygote.accounting import start_ticks
from dadmsd.zygote.messages import CommandGate, Exited, Fork, Forked, ForkFailed, GateFailed, Reap, Rlimit, WorkerGate
from tests.integration.zygote.small_kernel import Child, Kernel, Zygote, packed, run_batch


def link_targets(os_pid: int) -> list[str]:
    return sorted(str(entry.readlink()).split(":")[0] for entry in Path(f"/proc/{os_pid}/fd").iterdir())


def state_of(os_pid: int) -> str:
    return Path(f"/proc/{os_pid}/stat").read_text().rpartition(")")[2].split()[0]


def has_ended(pidfd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000.0))


def command(kernel: Kernel, argv: list[str], **changes: object) -> Child:
    child = kernel.fork("1002.1", "command")
    gate = CommandGate(argv, {"PATH": "/usr/bin:/bin", "MARK": "mine"}, "/", 0o027, os.getuid(), os.getgid(), os.getgroups())
    child.port.send(msgspec.structs.replace(gate, **changes))
    return child


def test_a_main_runs_in_its_own_session_with_its_own_descriptors(base: Zygote, tmp_path: Path) -> None:
    kernel = base.version_kernel()
    main = kernel.start_main("1001.1", tmp_path, config={"exit": 3})
    assert "noop" in main.expect(Ready).entries
    value = msgspec.msgpack.decode(main.expect(Outcome).value)
    assert main.forked is not None
    assert value["sid"] == main.forked.os_pid
    assert value["pid"] == 1001
    assert value["directory"] == str(tmp_path)
    assert [target.split(":")[0] for target in value["open"]] == ["/dev/null", "pipe", "pipe", "socket"]
    assert value["signals"] == {"SIGCHLD": "0", "SIGTERM": "0", "SIGPIPE": "1"}
    exited = kernel.exited(main)
    assert (exited.how, exited.status) == (os.CLD_EXITED, 3)
    assert 0.0 < exited.cpu_seconds < 5.0
    assert 1_000 < exited.peak_kb < 1_000_000


def test_a_main_that_raises_exits_with_1_and_its_traceback_is_in_its_log(base: Zygote, tmp_path: Path) -> None:
    kernel = base.version_kernel()
    main = kernel.start_main("1001.1", tmp_path, config={"raise": "on purpose"})
    assert kernel.exited(main).status == 1
    assert "RuntimeError: on purpose" in main.read_log()


def test_a_child_is_named_by_its_pid_and_its_start(base: Zygote, tmp_path: Path) -> None:
    kernel = base.version_kernel()
    child = kernel.start_worker("1001.1/w1", tmp_path)
    assert child.forked is not None
    assert (
        child.forked.start_ticks
        == start_ticks(child.forked.os_pid)
        == int(Path(f"/proc/{child.forked.os_pid}/stat").read_text().split()[21])
    )
    assert Path(f"/proc/{child.forked.os_pid}/comm").read_text() == "1001.1/w1\n"


def test_a_waiting_child_holds_nothing_but_its_own(base: Zygote) -> None:
    kernel = base.version_kernel()
    others = [kernel.fork(f"1001.1/w{number}", "worker") for number in range(3)]
    forked = others[-1].forked
    assert forked is not None
    others[-1].port.send(WorkerGate(1001, 1, 3, 1, packed(None), "/"))
    others[-1].expect(worker.Ready)
    assert link_targets(forked.os_pid) == ["/", "/dev/null", "/memfd", "pipe", "pipe", "socket"]


def test_what_is_asked_for_in_a_row_is_forked_in_a_row_each_with_nothing_but_its_own(base: Zygote) -> None:
    """More orders than one row holds, a name twice among them, and a role that this zygote does not fork: each has its answer."""
    kernel = base.kernel
    os.kill(base.process.pid, signal.SIGSTOP)
    children = [kernel.ask(f"{number}.1", "command") for number in range(1001, 1013)]
    odd, twice = kernel.ask("1013.1", "worker"), "1011.1"
    mine, theirs = pair()
    kernel.control.send(Fork(twice, "command", 20.0), [theirs.fileno()] * 3)
    theirs.close()
    children += [kernel.ask(f"{number}.1", "command") for number in range(1014, 1018)]
    os.kill(base.process.pid, signal.SIGCONT)
    told: list[Forked | ForkFailed] = []
    pidfds = []
    while len(told) < len(children) + 2:
        frame = kernel.control.receive(20.0)
        assert frame is not None
        if isinstance(frame.body, Forked | ForkFailed):
            told.append(frame.body)
        pidfds += frame.fds
    by_name = {each.name: each.os_pid for each in told if isinstance(each, Forked)}
    assert sorted(by_name) == [child.name for child in children]
    assert len(set(by_name.values())) == len(children)
    assert [each for each in told if each.name == twice] == [Forked(twice, by_name[twice], start_ticks(by_name[twice]))] * 2
    assert [each.name for each in told if isinstance(each, ForkFailed)] == [odd.name]
    for child in children:
        os_pid = by_name[child.name]
        while Path(f"/proc/{os_pid}/comm").read_text() != f"{child.name}\n":
            os.sched_yield()  # it names itself once it has let go of what is not its own
        assert link_targets(os_pid) == ["/dev/null", "pipe", "pipe", "socket"]
        os.kill(os_pid, signal.SIGKILL)
        kernel.exited(child)
    mine.close()
    for pidfd in pidfds:
        os.close(pidfd)


def test_a_closed_port_reads_as_ended_whatever_else_was_forked(base: Zygote) -> None:
    """Nobody else holds the child's end: neither the zygote nor a sibling that was forked later."""
    kernel = base.version_kernel()
    first = kernel.fork("1001.1", "main")
    kernel.fork("1002.1", "main")
    first.kill()
    kernel.exited(first)
    with pytest.raises(Exception, match="closed its end"):
        first.port.receive(5.0)


def test_a_gate_that_stays_shut_ends_the_child(base: Zygote) -> None:
    kernel = base.version_kernel()
    child = kernel.fork("1001.1", "main", gate_timeout=0.05)
    exited = kernel.exited(child)
    assert (exited.how, exited.status) == (os.CLD_EXITED, exits.GATE_SHUT)


def test_a_port_that_closes_before_the_gate_opens_ends_the_child(base: Zygote) -> None:
    kernel = base.version_kernel()
    child = kernel.fork("1001.1", "main")
    child.port.close()
    assert kernel.exited(child).status == exits.ABANDONED


def test_a_gate_of_another_role_opens_nothing(base: Zygote) -> None:
    kernel = base.version_kernel()
    child = kernel.fork("1001.1", "main", gate_timeout=0.2)
    child.port.send(WorkerGate(1001, 1, 3, 1, packed(None), "/"))
    assert kernel.exited(child).status == exits.GATE_SHUT


def test_an_exit_is_reported_until_it_is_reaped_and_then_forgotten(base: Zygote) -> None:
    kernel = base.version_kernel()
    child = kernel.fork("1001.1", "main")
    child.kill()
    exited = kernel.exited(child)
    assert (exited.how, exited.status) == (os.CLD_KILLED, signal.SIGKILL)
    assert child.forked is not None
    assert state_of(child.forked.os_pid) == "Z"
    assert kernel.hello().children == 1
    assert kernel.exited(child) == exited
    kernel.reap("1001.1")
    assert kernel.hello().children == 0
    assert not Path(f"/proc/{child.forked.os_pid}").exists()


def test_reaping_too_early_or_nobody_changes_nothing(base: Zygote) -> None:
    kernel = base.version_kernel()
    child = kernel.fork("1001.1", "main")
    kernel.reap("1001.1")
    kernel.reap("nobody")
    assert kernel.hello().children == 1
    child.kill()
    assert kernel.exited(child).status == signal.SIGKILL


def test_the_same_name_is_forked_once(base: Zygote) -> None:
    kernel = base.version_kernel()
    first = kernel.fork("1001.1", "main")
    again = kernel.fork("1001.1", "main")
    assert again.forked == first.forked
    assert kernel.hello().children == 1
    os.close(first.pidfd)
    first.port.close()
    os.close(first.log)


REFUSALS = [
    ("base", "main", 3, "holds no orchestrator, and forks no main"),
    ("version", "command", 3, "holds user code, and forks no command"),
    ("base", "emperor", 3, 'there is no role "emperor"'),
    ("base", "command", 4, "4 descriptors came with it, a command takes 3"),
    ("version", "worker", 3, "3 descriptors came with it, a worker takes 4"),
]


@pytest.mark.parametrize(("where", "role", "count", "reason"), REFUSALS)
def test_a_fork_that_cannot_be_is_refused_with_the_reason(base: Zygote, where: str, role: str, count: int, reason: str) -> None:
    kernel = base.kernel if where == "base" else base.version_kernel()
    with Path(os.devnull).open() as null:
        kernel.control.send(Fork("1001.1", role, 1.0), [null.fileno()] * count)
    failed = kernel.expect(ForkFailed)
    assert failed == ForkFailed("1001.1", f'cannot fork "1001.1": {failed.reason.partition(": ")[2]}')
    assert failed.reason.endswith(reason)


def test_a_command_becomes_the_program_with_its_limits(base: Zygote, tmp_path: Path) -> None:
    script = "import os, resource, signal; print(os.getcwd(), os.umask(0), os.environ['MARK'], resource.getrlimit(resource.RLIMIT_CORE), os.nice(0), signal.getsignal(signal.SIGPIPE), len(os.environ))"
    child = command(
        base.kernel,
        [sys.executable, "-I", "-c", script],
        directory=str(tmp_path),
        rlimits=[Rlimit("RLIMIT_CORE", 4096)],
        niceness=5,
    )
    assert base.kernel.exited(child).status == 0
    # Python ignores SIGPIPE at its start: what it inherited is asked of a program that changes nothing.
    assert child.read_log().startswith(f"{tmp_path} 23 mine (4096, 4096) 5 ")


def test_a_command_has_the_systems_default_signals(base: Zygote) -> None:
    child = command(base.kernel, ["grep", "SigIgn\\|SigBlk", "/proc/self/status"])
    assert base.kernel.exited(child).status == 0
    blocked, ignored = (int(line.split()[1], 16) for line in child.read_log().splitlines())
    ours = ~(0b11 << 31)  # 32 and 33 are the C library's: nobody can change what a command inherits of them
    assert (blocked & ours, ignored & ours) == (0, 0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"argv": ["no-such-program"]}, 'cannot run "no-such-program": No such file or directory'),
        ({"argv": []}, "cannot run a command without a name"),
        ({"argv": ["/"]}, 'cannot run "/": Permission denied'),
        ({"directory": "/nowhere/at/all"}, 'cannot work in "/nowhere/at/all": No such file or directory'),
        ({"rlimits": [Rlimit("RLIMIT_SPLENDOUR", 1)]}, 'cannot limit "RLIMIT_SPLENDOUR": this system has no such limit'),
    ],
)
def test_a_command_that_cannot_be_says_why(base: Zygote, changes: dict[str, object], reason: str) -> None:
    argv = changes.pop("argv", ["true"])
    assert isinstance(argv, list)
    child = command(base.kernel, argv, **changes)
    assert child.expect(GateFailed).reason == reason
    assert base.kernel.exited(child).status == exits.GATE_FAILED


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
def test_a_command_runs_as_its_user(base: Zygote) -> None:
    child = command(base.kernel, ["sh", "-c", "id -u; id -g; id -G"], uid=4711, gid=4712, groups=[4713])
    assert base.kernel.exited(child).status == 0
    assert child.read_log().split() == ["4711", "4712", "4712", "4713"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may")
def test_who_may_not_become_another_user_is_told(base: Zygote) -> None:
    child = command(base.kernel, ["true"], uid=4711, gid=4712)
    assert "cannot become user 4711" in child.expect(GateFailed).reason


def test_a_main_whose_directory_is_gone_says_so(base: Zygote, tmp_path: Path) -> None:
    kernel = base.version_kernel()
    main = kernel.start_main("1001.1", tmp_path / "gone", config={})
    assert main.expect(MainGateFailed).reason == f'cannot work in "{tmp_path / "gone"}": No such file or directory'


def test_a_worker_whose_page_is_none_says_so(base: Zygote, tmp_path: Path) -> None:
    kernel = base.version_kernel()
    child = kernel.fork("1001.1/w1", "worker")
    assert child.page is not None
    child.page._words[0] = 0
    child.port.send(WorkerGate(1001, 1, 3, 1, packed(None), str(tmp_path)))
    assert "another version" in child.expect(GateFailed).reason
    assert kernel.exited(child).status == exits.GATE_FAILED


def test_orders_of_an_older_epoch_are_dropped(base: Zygote, tmp_path: Path) -> None:
    kernel = base.version_kernel()
    child = kernel.fork("1001.1", "main")
    child.kill()
    kernel.exited(child)
    kernel.control.epoch = 5
    kernel.hello()
    kernel.control.epoch = 4
    kernel.control.send(Reap("1001.1"))
    kernel.control.epoch = 5
    assert kernel.hello().children == 1
    assert kernel.expect(Exited).name == "1001.1"


def test_garbage_on_the_control_channel_costs_nothing(base: Zygote, tmp_path: Path) -> None:
    with Path(os.devnull).open() as null:
        for packet in (b"\xc1", b"\x90", msgspec.msgpack.encode([1, 1, 1, ["fork"]]), b"\x00" * 60_000):
            socket.send_fds(base.kernel.control._sock, [packet], [null.fileno()])
    assert base.kernel.hello().children == 0
    assert "a message was dropped" in base.read_log()
    assert link_targets(base.process.pid).count("/dev/null") == 1


def test_a_zygote_ends_with_its_control_channel(base: Zygote) -> None:
    base.kernel.control.close()
    base.kept.close()
    assert base.process.wait(10.0) == 0


def test_a_worker_prints_into_its_log_by_line(base: Zygote, tmp_path: Path) -> None:
    kernel = base.version_kernel()
    child = kernel.start_worker("1001.1/w1", tmp_path)
    run_batch(child, 1, [("print", "one\n")])
    assert os.read(child.log, 100) == b"one\n"
    run_batch(child, 2, [("print", "no end")])
    assert os.read(child.log, 100) == b"no end"


def test_when_neither_keeper_nor_kernel_is_left_a_zygote_ends_what_it_forked(base: Zygote, tmp_path: Path) -> None:
    """A program that reads nothing and is in nobody's cgroup, with a child of its own."""
    child = command(base.kernel, ["/bin/sh", "-c", f"sleep 1000 & echo $! > {tmp_path}/pid; exec sleep 1000"])
    written = tmp_path / "pid"
    base.next_kernel().hello()
    while not written.exists() or not written.read_text():
        assert not has_ended(child.pidfd, 0.02), "a kernel that is replaced ends nobody"
    grandchild = os.pidfd_open(int(written.read_text()))
    base.kernel.control.close()
    base.kept.close()
    assert base.process.wait(10.0) == 0
    child.await_exit()
    assert has_ended(grandchild, 10.0)
    os.close(grandchild)
