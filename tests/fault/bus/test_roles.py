"""Other users of the machine: what they may do is what the configuration gives them, refusals are told and written down."""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dadms_ipc import requests
from dadms_ipc.client import Client
from tests.integration.bus.daemon import Daemon

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")

# Another user's program: says what happened to each thing that it tries. It becomes that user itself, once everything is imported: this Python may be another's.
PROGRAM = """
import os, sys
from dadms_ipc import requests
from dadms_ipc.client import Client
from dadms_ipc.errors import DadmsError
uid, *groups = map(int, sys.argv[2:])
os.setgroups(groups)
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
try:
    with Client(sys.argv[1]) as client:
        print("role", client.role)
        for act in (lambda: client.call(requests.Status()), lambda: client.publish("a/b", b"x"), lambda: client.send("1001", "t"), lambda: client.subscribe("a/#")):
            try:
                act()
                print("ok")
            except DadmsError as error:
                print(error)
except DadmsError as error:
    print(error)
"""
OBSERVER, OPERATOR, MEMBER, STRANGER = 60_001, 60_002, 60_003, 60_004
GROUP = 60_050
CONFIG = f"""
[access]
observe = ["{OBSERVER}"]
operate = ["{OPERATOR}", "@{GROUP}"]
socket_mode = "0666"
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """Give a bus with roles."""
    path = tmp_path / "dadms.toml"
    path.write_text(CONFIG)
    with Daemon(config=path) as running:
        shut = [place for place in (running.directory, running.directory.parent) if not place.stat().st_mode & 0o001]
        for place in shut:
            place.chmod(0o711)  # other users get through
        yield running
        for place in shut:
            place.chmod(0o700)


def as_user(daemon: Daemon, uid: int, groups: tuple[int, ...] = ()) -> list[str]:
    """Run the program as a user; gives what it said and its pid."""
    command = [sys.executable, "-c", PROGRAM, str(daemon.directory), str(uid), *map(str, groups)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        said, complaints = program.communicate(timeout=30)
    assert complaints == ""
    return [str(program.pid), *said.splitlines()]


@needs_root
def test_a_user_may_do_what_its_role_says(daemon: Daemon) -> None:
    """One that looks is not let send; one of a group does what the group may."""
    _, role, *done = as_user(daemon, OBSERVER)
    assert role == "role observe"
    assert done[0] == "ok"
    assert "cannot send: the role operate is needed, yours is observe" in done
    assert done[-1] == "ok"
    _, role, *done = as_user(daemon, OPERATOR)
    assert (role, done[1]) == ("role operate", "ok")
    assert as_user(daemon, MEMBER, (7, GROUP))[1] == "role operate"


@needs_root
def test_a_user_without_a_role_is_refused_and_written_down(daemon: Daemon) -> None:
    """With its uid and its pid, which no client can choose."""
    pid, said = as_user(daemon, STRANGER)
    assert said == f"cannot speak with uid {STRANGER}: it has no role here"
    audit = (daemon.directory / "logs" / "audit.log").read_text()
    assert re.search(rf'refused uid={STRANGER} pid={pid} what="HELLO" why="cannot speak with uid {STRANGER}', audit)


@needs_root
def test_what_an_observer_was_refused_is_written_down(daemon: Daemon) -> None:
    """Each kind with its name."""
    pid, *_ = as_user(daemon, OBSERVER)
    audit = (daemon.directory / "logs" / "audit.log").read_text()
    for kind in ("PUBLISH", "SEND"):
        assert re.search(rf'refused uid={OBSERVER} pid={pid} what="{kind}" why="{kind} needs the role operate"', audit)


@needs_root
def test_a_directory_that_is_closed_is_told_as_that() -> None:
    """In one sentence; the sockets behind it cannot be seen."""
    with Daemon() as private:
        assert as_user(private, STRANGER)[1:] == [
            f"cannot reach a daemon on {private.directory}: its directory is closed to uid {STRANGER}"
        ]


def test_the_sockets_of_a_private_daemon_are_its_users_alone() -> None:
    with Daemon() as daemon:
        modes = {stat.S_IMODE((daemon.directory / name).stat().st_mode) for name in ("control.sock", "data.sock")}
        assert modes == {0o600}


def test_the_mode_of_the_sockets_can_be_set(tmp_path: Path) -> None:
    path = tmp_path / "dadms.toml"
    path.write_text('[access]\nsocket_mode = "0660"\n')
    with Daemon(config=path) as daemon:
        assert {stat.S_IMODE((daemon.directory / name).stat().st_mode) for name in ("control.sock", "data.sock")} == {0o660}
        with Client(daemon.directory) as client:
            client.call(requests.Status())
