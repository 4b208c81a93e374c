"""The end of the daemon when somebody does not play along: it comes in time, and leaves nobody."""

import os
import signal
from pathlib import Path

from tests.integration.keeper.theatre import Theatre, breakable


def configured(short_path: Path, milliseconds: int) -> tuple[str, str]:
    config = short_path / "dadms.toml"
    config.write_text(f"[daemon]\nstop_timeout_ms = {milliseconds}\n")
    return "--config", str(config)


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_servers_that_ignore_sigterm_are_killed(theatre: Theatre) -> None:
    theatre.open()
    cast = {server.name: server for server in theatre.cast("kernel", "zygote", "bus", "logger")}
    for server in cast.values():
        server.do("ignore", signal_name="SIGTERM")
    theatre.signal(signal.SIGTERM)
    cast["kernel"].hears("StopAsked")
    cast["kernel"].say("Stopped")
    cast["logger"].hears("StopAsked")
    cast["logger"].order("exit", code=0)
    assert theatre.over() == 0
    assert not any(is_alive(server.pid) for server in cast.values())


def test_a_logger_that_does_not_end_is_killed(theatre: Theatre) -> None:
    theatre.open()
    kernel, logger = theatre.cast("kernel", "logger")
    theatre.signal(signal.SIGTERM)
    kernel.hears("StopAsked")
    kernel.say("Stopped")
    logger.hears("StopAsked")
    assert theatre.over() == 0
    assert not is_alive(logger.pid)


def test_a_kernel_that_ends_nothing_is_killed_with_all_that_lives_and_the_next_one_tidies_up(theatre: Theatre, short_path: Path) -> None:
    theatre.open(*configured(short_path, 300))
    kernel, zygote, logger = theatre.cast("kernel", "zygote", "logger")
    escaped = zygote.do("orphan", code=0, sleep=1000)
    theatre.signal(signal.SIGTERM)
    kernel.hears("StopAsked")
    tidying = theatre.actor("kernel")
    assert not is_alive(escaped)
    assert not is_alive(kernel.pid)
    assert logger.do("ignore", signal_name="SIGUSR1") is None  # it writes last words
    heard = [word["heard"] for word in tidying.hears_until("StopAsked")]
    assert heard[0] == "Welcome"
    tidying.say("Stopped")
    logger.hears("StopAsked")
    logger.order("exit", code=0)
    assert theatre.over() == 1
    assert f"the kernel did not end everything in time; other processes left: {escaped}" in theatre.said()
    assert not theatre.runtime.exists()


def test_a_second_signal_does_not_wait(theatre: Theatre) -> None:
    theatre.open()  # a kernel would have 30 s
    kernel, logger = theatre.cast("kernel", "logger")
    theatre.signal(signal.SIGINT)
    kernel.hears("StopAsked")
    theatre.signal(signal.SIGINT)
    tidying = theatre.actor("kernel")
    assert kernel.is_gone()
    tidying.hears("StopAsked")
    tidying.say("Stopped")
    logger.hears("StopAsked")
    logger.order("exit", code=0)
    assert theatre.over() == 1


def test_a_lease_that_ends_before_a_signal_does_not_make_it_the_second(theatre: Theatre) -> None:
    theatre.runtime.mkdir(mode=0o700)
    lease, owner = os.pipe()
    theatre.open("--lease-fd", str(lease), fds=(lease,))
    os.close(lease)
    kernel, logger = theatre.cast("kernel", "logger")
    os.close(owner)
    assert kernel.hears("StopAsked")["fields"] == {"reason": "lease"}
    theatre.signal(signal.SIGTERM)
    assert kernel.do("ignore", signal_name="SIGUSR1") is None
    kernel.say("Stopped")
    logger.hears("StopAsked")
    logger.order("exit", code=0)
    assert theatre.over() == 0


def test_a_kernel_that_dies_while_it_ends_everything_is_followed_by_one_that_goes_on(theatre: Theatre) -> None:
    theatre.open()
    kernel, logger = theatre.cast("kernel", "logger")
    kernel.do("store", name="v1/port/1001.1")
    theatre.signal(signal.SIGTERM)
    kernel.hears("StopAsked")
    os.kill(kernel.pid, signal.SIGKILL)
    following = theatre.actor("kernel")
    words = following.hears_until("StopAsked")
    assert "v1/port/1001.1" in [word["fields"].get("name") for word in words]
    following.say("Stopped")
    logger.hears("StopAsked")
    logger.order("exit", code=0)
    assert theatre.over() == 0


def test_a_kernel_that_cannot_start_any_more_does_not_hold_up_the_end(theatre: Theatre, short_path: Path) -> None:
    theatre.open(kernel=breakable("kernel", short_path))
    kernel, zygote, logger = theatre.cast("kernel", "zygote", "logger")
    escaped = zygote.do("orphan", code=0, sleep=1000)
    (short_path / "broken").touch()
    theatre.signal(signal.SIGTERM)
    kernel.hears("StopAsked")
    os.kill(kernel.pid, signal.SIGKILL)
    logger.hears("StopAsked")  # long before 30 s have passed: the test would time out
    logger.order("exit", code=0)
    assert theatre.over() == 1
    assert not is_alive(escaped)


def test_the_owner_of_a_lease_is_killed_and_nothing_is_left(theatre: Theatre) -> None:
    theatre.runtime.mkdir(mode=0o700)
    lease, owner = os.pipe()
    owner_pid = os.fork()
    if owner_pid == 0:
        os.close(lease)
        signal.pause()
        os._exit(0)
    os.close(owner)
    theatre.open("--lease-fd", str(lease), fds=(lease,))
    os.close(lease)
    kernel, zygote, logger = theatre.cast("kernel", "zygote", "logger")
    os.kill(owner_pid, signal.SIGKILL)
    os.waitpid(owner_pid, 0)
    assert kernel.hears("StopAsked")["fields"] == {"reason": "lease"}
    kernel.say("Stopped")
    logger.hears("StopAsked")
    logger.order("exit", code=0)
    assert theatre.over() == 0
    assert not theatre.runtime.exists()
    assert not is_alive(zygote.pid)
