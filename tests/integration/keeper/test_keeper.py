"""The keeper with four servers that say what they hear: start, store, links, readiness, end."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.keeper.theatre import PATIENCE, Theatre

SERVERS = ("zygote", "kernel", "bus", "logger")


def test_each_server_has_a_session_of_its_own_and_no_descriptor_but_its_channel(theatre: Theatre) -> None:
    theatre.open()
    for server in theatre.cast(*SERVERS):
        assert server.fds == [0, 1, 2, 3, 4, 5]  # 4 is its string, 5 the listing itself
        assert os.getsid(server.pid) == server.pid
        for stream, target in (
            (0, "/dev/null"),
            (1, str(theatre.state / "logs" / "servers.log")),
            (2, str(theatre.state / "logs" / "servers.log")),
        ):
            assert os.readlink(f"/proc/{server.pid}/fd/{stream}") == target  # noqa: PTH115 - the text, not a Path
        blocked = next(line for line in Path(f"/proc/{server.pid}/status").read_text().splitlines() if line.startswith("SigBlk"))
        assert int(blocked.split()[1], 16) == 0


def test_the_first_word_to_each_server_is_its_welcome(theatre: Theatre) -> None:
    theatre.open()
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    lives = set()
    for server in theatre.cast("kernel", "bus", "logger"):
        welcome = server.hears_until("Welcome")
        assert len(welcome) == 1
        lives.add(welcome[0]["fields"].pop("daemon"))
        assert welcome[0]["fields"] == {
            "epoch": 1,
            "boot_id": boot_id,
            "runtime_dir": str(theatre.runtime),
            "state_dir": str(theatre.state),
            "config": None,
            "is_private": False,
            "config_dir": "",
            "config_source": "",
            "incarnation": 1,
        }
    assert len(lives) == 1, "one keeper, one name for its life"
    assert len(lives.pop()) == 32


def test_the_kernel_finds_the_base_zygote_in_the_store(theatre: Theatre) -> None:
    theatre.open()
    kernel = theatre.actor("kernel")
    names = [word["fields"].get("name") for word in kernel.hears_until("StoreSent") if word["heard"] == "Stored"]
    assert names == ["v1/zygote/base"]
    kernel.do("write", name="v1/zygote/base", text="fork")
    assert kernel.do("read", name="v1/zygote/base") == "zygote heard fork"


def test_kernel_and_bus_are_linked_with_each_other(theatre: Theatre) -> None:
    theatre.open()
    kernel, bus = theatre.cast("kernel", "bus")
    assert kernel.hears("Linked")["fields"] == {"server": "bus", "incarnation": 1}
    assert bus.hears("Linked")["fields"] == {"server": "kernel", "incarnation": 1}
    kernel.do("write", name="bus", text="to the bus")
    assert bus.do("read", name="kernel") == "to the bus"
    bus.do("write", name="kernel", text="to the kernel")
    assert kernel.do("read", name="bus") == "to the kernel"


def test_the_kernel_is_told_of_the_other_servers(theatre: Theatre) -> None:
    theatre.open()
    kernel, bus = theatre.cast("kernel", "bus")
    changed = kernel.hears("ServerChanged", server="bus", is_running=True)["fields"]
    assert changed == {"server": "bus", "os_pid": bus.pid, "restarts": 0, "is_running": True, "reason": "", "last_pid": 0}


def test_a_log_is_passed_on_to_the_logger_as_its_read_end(theatre: Theatre) -> None:
    theatre.open()
    kernel, logger = theatre.cast("kernel", "logger")
    kernel.do("store", name="v1/log/1001.1")
    assert logger.hears("Stored")["fds"] == 1
    kernel.do("write", name="v1/log/1001.1", index=1, text="from the process")
    assert logger.do("read", name="v1/log/1001.1") == "from the process"
    kernel.do("let_go", name="v1/log/1001.1")
    kernel.say("Drop", "v1/log/1001.1")
    logger.hears("Drop", name="v1/log/1001.1")
    assert logger.do("read", name="v1/log/1001.1") == ""  # the keeper's write end is closed, too


def test_a_refused_entry_is_told_to_the_kernel(theatre: Theatre) -> None:
    theatre.open()
    kernel = theatre.actor("kernel")
    for name in ("port/1", "v1/zygote/base", "v1/log/../x"):
        kernel.do("store", name=name)
        assert name in kernel.hears("StoreRefused", name=name)["fields"]["reason"]


@pytest.mark.parametrize("by", ["SIGTERM", "SIGINT", "SIGHUP", "shutdown"])
def test_the_end_goes_from_the_processes_to_the_logger_and_leaves_only_the_state(theatre: Theatre, by: str) -> None:
    theatre.open()
    kernel, zygote, bus, logger = theatre.cast("kernel", "zygote", "bus", "logger")
    (theatre.runtime / "control.sock").touch()  # as the bus would
    if by == "shutdown":
        kernel.say("ShutdownAsked")
    else:
        theatre.signal(signal.Signals[by])
    assert kernel.hears("StopAsked")["fields"] == {"reason": by}
    for server in (bus, zygote, logger):
        assert server.do("ignore", signal_name="SIGUSR1") is None  # they live until the kernel has ended everything
    kernel.say("Stopped")
    assert bus.is_gone()
    assert zygote.is_gone()
    assert kernel.is_gone()
    logger.hears("StopAsked")
    logger.order("exit", code=0)
    assert theatre.over() == 0
    assert not theatre.runtime.exists()
    assert [path.name for path in theatre.state.iterdir()] == ["logs"]


def test_a_directory_that_was_there_before_stays(theatre: Theatre) -> None:
    theatre.runtime.mkdir(mode=0o700)
    theatre.open()
    kernel, logger = theatre.cast("kernel", "logger")
    assert theatre.finish(kernel, logger) == 0
    assert list(theatre.runtime.iterdir()) == []


def test_a_second_daemon_is_refused_and_the_first_is_not_touched(theatre: Theatre) -> None:
    theatre.open()
    kernel, logger = theatre.cast("kernel", "logger")
    kernel.hears("Welcome")
    second = subprocess.run(
        [sys.executable, "-m", "dadmsd", "--runtime-dir", theatre.runtime, "--state-dir", theatre.state],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (second.returncode, second.stdout) == (4, "")
    assert second.stderr == f"dadmsd: cannot start dadmsd: another one (pid {theatre.pid}) runs on {theatre.runtime}\n"
    assert (theatre.runtime / "epoch").read_text() == "1\n"
    assert theatre.finish(kernel, logger) == 0


def test_servers_read_a_copy_of_the_configuration(theatre: Theatre, short_path: Path) -> None:
    config = short_path / "dadms.toml"
    config.write_text("[process_kernel]\nmax_processes = 7\n")
    theatre.open("--config", str(config))
    kernel, logger = theatre.cast("kernel", "logger")
    config.write_text("half a fi")
    welcome = kernel.hears("Welcome")["fields"]
    assert Path(welcome["config"]).read_text() == "[process_kernel]\nmax_processes = 7\n"
    assert welcome["config_dir"] == str(short_path)
    assert theatre.finish(kernel, logger) == 0
    assert not theatre.runtime.exists()


def test_the_service_manager_hears_ready_alive_and_stopping(short_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(short_path / "n"))
        manager.settimeout(PATIENCE)
        theatre = Theatre(short_path, {"NOTIFY_SOCKET": str(short_path / "n"), "WATCHDOG_USEC": "100000"})
        try:
            theatre.open()
            kernel, bus, logger = theatre.cast("kernel", "bus", "logger")
            assert {manager.recv(100) for _ in range(3)} == {b"WATCHDOG=1"}  # alive before it is ready
            environment = Path(f"/proc/{kernel.pid}/environ").read_bytes()
            assert b"NOTIFY_SOCKET" not in environment
            assert b"WATCHDOG_USEC" not in environment
            kernel.say("Ready")
            assert {manager.recv(100) for _ in range(3)} == {b"WATCHDOG=1"}  # nobody could come in
            bus.say("Ready")
            while (heard := manager.recv(100)) == b"WATCHDOG=1":
                pass
            assert heard == f"READY=1\nSTATUS=ready on {theatre.runtime}".encode()
            assert manager.recv(100) == b"WATCHDOG=1"
            theatre.signal(signal.SIGTERM)
            while (heard := manager.recv(100)) == b"WATCHDOG=1":
                pass
            assert heard == b"STOPPING=1\nSTATUS=stopping: SIGTERM"
            kernel.say("Stopped")
            logger.hears("StopAsked")
            logger.order("exit", code=0)
            assert theatre.over() == 0
        finally:
            theatre.close()


def test_a_private_daemon_ends_with_its_lease_and_takes_its_directory_along(theatre: Theatre) -> None:
    theatre.runtime.mkdir(mode=0o700)
    lease, owner = os.pipe()
    theatre.state = theatre.runtime / "state"
    theatre.open("--lease-fd", str(lease), fds=(lease,))
    os.close(lease)
    kernel, logger = theatre.cast("kernel", "logger")
    assert kernel.hears("Welcome")["fields"]["is_private"] is True
    os.close(owner)
    assert kernel.hears("StopAsked")["fields"] == {"reason": "lease"}
    kernel.say("Stopped")
    logger.hears("StopAsked")
    logger.order("exit", code=0)
    assert theatre.over() == 0
    assert not theatre.runtime.exists()
    assert theatre.said() == ""  # its owner speaks for it


def test_a_private_daemon_refuses_a_directory_with_somebodys_files(theatre: Theatre) -> None:
    theatre.runtime.mkdir(mode=0o700)
    (theatre.runtime / "thesis.tex").touch()
    lease, owner = os.pipe()
    theatre.open("--lease-fd", str(lease), fds=(lease,))
    os.close(lease)
    assert theatre.over() == 4
    os.close(owner)
    assert '"thesis.tex" is in it' in theatre.said()
    assert (theatre.runtime / "thesis.tex").exists()


def test_the_keeper_is_idle_when_nothing_happens(theatre: Theatre) -> None:
    theatre.open()
    kernel, _, _, logger = theatre.cast(*("kernel", "zygote", "bus", "logger"))
    kernel.say("Ready")
    kernel.do("store", name="v1/port/1")

    def switches() -> int:
        lines = Path(f"/proc/{theatre.pid}/status").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)

    kernel.do("pause", seconds=0.3)  # whatever began has ended by then
    before = switches()
    kernel.do("pause", seconds=1.0)
    assert switches() - before <= 1
    assert theatre.finish(kernel, logger) == 0
