"""Keys, from the command line to a daemon's network door and back."""

import asyncio
import json
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dadms_ipc.aio import Client as AsyncClient
from dadms_ipc.errors import RequestRefused, Unreachable
from tests.conftest import Daemon
from tests.fault.bus.network import NAMES
from tests.integration.cli.conftest import Ctl
from tests.ports import Ports

GO_NO_GO = Path(__file__).parents[3] / "examples" / "uas_selection" / "go_no_go.dmn"


@pytest.fixture
def state(short_path: Path) -> Path:
    """Give a state directory, as a daemon makes it."""
    path = short_path / "s"
    path.mkdir(mode=0o700)
    return path


def test_a_key_is_made_listed_and_revoked(ctl: Ctl, state: Path, short_path: Path) -> None:
    """Its secret is in one file, for its owner alone; what is kept at the daemon has none."""
    file = short_path / "laptop.key"
    made = ctl("keys", "new", "laptop", "--role", "observe", "--out", file, "--state-dir", state)
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout == f'{file} holds the key "laptop" (observe) and is the only place where its secret is\n'
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = next(line.split('"')[1] for line in file.read_text().splitlines() if line.startswith("secret"))
    kept = [path for path in (state / "keys").rglob("*") if path.is_file()]
    assert len(kept) == 2
    assert all(secret not in path.read_text() and stat.S_IMODE(path.stat().st_mode) == 0o600 for path in kept)
    (listed,) = json.loads(ctl("keys", "ls", "--json", "--state-dir", state).stdout)
    assert (listed["name"], listed["role"], listed["uid"]) == ("laptop", "observe", 65534 if os.geteuid() == 0 else os.geteuid())
    assert secret not in json.dumps(listed)
    assert "laptop" in ctl("keys", "ls", "--state-dir", state).stdout
    assert ctl("keys", "revoke", "laptop", "--state-dir", state).stdout == 'the key "laptop" is revoked\n'
    assert json.loads(ctl("keys", "ls", "--json", "--state-dir", state).stdout) == []


def test_mistakes_with_keys_are_told_and_change_nothing(ctl: Ctl, state: Path, short_path: Path) -> None:
    """Each in one line, with code 4."""
    file = short_path / "k.key"
    assert ctl("keys", "new", "k", "--out", file, "--state-dir", state).returncode == 0
    before = file.read_text()
    for arguments, said in (
        (("new", "k", "--out", short_path / "other"), 'cannot make the key "k": there is one of this name'),
        (("new", "l", "--out", file), f'cannot write the key "{file}": "{file}" is there already'),
        (("new", "../x", "--out", short_path / "x"), 'cannot name a key "../x"'),
        (("new", "m", "--user", "no-such-user", "--out", short_path / "m"), "there is no such user"),
        (("revoke", "nobody"), 'cannot revoke "nobody": there is no such key; there are k'),
    ):
        done = ctl("keys", *arguments, "--state-dir", state)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (4, "", 1)
        assert said in done.stderr
    assert [path.name for path in (state / "keys" / "allowed").iterdir()] == ["k"]
    assert file.read_text() == before
    assert not (short_path / "other").exists()
    missing = ctl("keys", "ls", "--state-dir", short_path / "none")
    assert (missing.returncode, missing.stderr.count("\n")) == (4, 1)


@pytest.fixture
def daemon(short_path: Path, wait_for: Callable[[Daemon], None]) -> Iterator[tuple[Daemon, dict[str, int]]]:
    """Give a daemon that listens, and its ports."""
    with Ports(len(NAMES)) as held:
        ports = dict(zip(NAMES, held.numbers, strict=True))
        path = short_path / "dadms.toml"
        path.write_text("\n".join(["[network]", "enabled = true", *(f"{name}_port = {port}" for name, port in ports.items())]))
        running = Daemon(short_path, "--config", str(path))
        try:
            wait_for(running)
            yield running, ports
        finally:
            running.close()


def test_a_daemon_is_reached_over_the_network(
    ctl: Ctl, daemon: tuple[Daemon, dict[str, int]], short_path: Path, environment: dict[str, str]
) -> None:
    """By option or environment, as far as the key's role goes, and until it is revoked."""
    running, ports = daemon
    environment["DADMS_STATE_DIR"] = str(running.state_dir)
    file, host = short_path / "laptop.key", f"127.0.0.1:{ports['process_manager']}"
    assert ctl("keys", "new", "laptop", "--role", "observe", "--out", file).returncode == 0
    there = ("--host", host, "--key", file)
    assert json.loads(ctl(*there, "ps", "--json").stdout) == []
    assert json.loads(ctl(*there, "status", "--json").stdout)["runtime_dir"] == str(running.runtime_dir)
    refused = ctl(*there, "shutdown")
    assert refused.returncode == 4
    assert 'key "laptop" at 127.0.0.1' in refused.stderr
    file.chmod(0o644)
    assert "others may read it (mode 0644" in ctl(*there, "ps").stderr
    file.chmod(0o600)
    environment |= {"DADMS_HOST": host, "DADMS_KEY": str(file)}
    assert ctl("ps").returncode == 0
    assert ctl("keys", "revoke", "laptop").returncode == 0
    turned_away = ctl("ps")
    assert turned_away.returncode == 4
    assert 'the key "laptop" is not, or no longer, on its list' in turned_away.stderr
    both = ctl("--runtime-dir", running.runtime_dir, "--host", host, "ps")
    assert both.returncode == 2
    assert ctl("--runtime-dir", running.runtime_dir, "ps").returncode == 0
    audit = (running.state_dir / "logs" / "audit.log").read_text()
    assert 'refused key="laptop" address=127.0.0.1 what="shutdown" why="cannot shutdown: needs the role' in audit


def test_who_cannot_be_reached_is_told_apart(ctl: Ctl, state: Path, short_path: Path) -> None:
    """A name that nobody has, at once; a port at which nobody listens; and one at which somebody does not speak."""
    file = short_path / "k.key"
    assert ctl("keys", "new", "k", "--out", file, "--state-dir", state).returncode == 0
    with Ports(1) as held, socket.create_server(("127.0.0.1", 0)) as silent:
        for host, why in (
            ("no-such-host.invalid", 'the name "no-such-host.invalid" cannot be resolved: '),
            (f"127.0.0.1:{held.numbers[0]}", "nobody spoke in 0.3 s; nobody can be connected with there: Connection refused\n"),
            (
                f"127.0.0.1:{silent.getsockname()[1]}",
                "nobody spoke in 0.3 s; something listens there; it may be no daemon, or have another key",
            ),
        ):
            done = ctl("--host", host, "--key", file, "--timeout", "0.3", "ps")
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
            assert why in done.stderr


def test_who_takes_the_data_port_for_a_control_port_is_told_which_is_which(
    ctl: Ctl, daemon: tuple[Daemon, dict[str, int]], short_path: Path
) -> None:
    running, ports = daemon
    file = short_path / "k.key"
    assert ctl("keys", "new", "k", "--out", file, "--state-dir", running.state_dir).returncode == 0
    done = ctl("--host", f"127.0.0.1:{ports['data']}", "--key", file, "ps")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (4, "", 1)
    why = f"{ports['data']} is its data port, for messages; requests go to a control port, such as the kernel's, 3017 unless its configuration says otherwise"
    assert done.stderr == f"dadmsctl: cannot ask the daemon at tcp://127.0.0.1:{ports['data']}: {why}\n"

    async def reach() -> None:
        async with AsyncClient(f"tcp://127.0.0.1:{ports['data']}", key=file):
            raise AssertionError("it was let in")

    with pytest.raises(RequestRefused, match="is its data port"):
        asyncio.run(reach())


def test_an_asyncio_client_tells_them_apart_as_well(ctl: Ctl, state: Path, short_path: Path) -> None:
    """Its loop goes on meanwhile: the system resolves names in a thread."""
    file = short_path / "k.key"
    assert ctl("keys", "new", "k", "--out", file, "--state-dir", state).returncode == 0

    async def reach(place: str) -> str:
        with pytest.raises(Unreachable) as told:
            await AsyncClient(place, key=file, timeout=0.3).__aenter__()
        return str(told.value)

    with Ports(1) as held:
        assert "cannot be resolved" in asyncio.run(reach("tcp://no-such-host.invalid"))
        assert asyncio.run(reach(f"tcp://127.0.0.1:{held.numbers[0]}")).endswith("Connection refused")


def test_a_port_that_is_taken_is_told_at_once_and_the_daemon_stands_when_it_is_free(
    short_path: Path, wait_for: Callable[[Daemon], None]
) -> None:
    """The same reason is not told again and again meanwhile; the file of the servers has it each time."""
    with Ports(len(NAMES)) as held:
        ports = dict(zip(NAMES, held.numbers, strict=True))
        (short_path / "dadms.toml").write_text(
            "\n".join(["[network]", "enabled = true", *(f"{name}_port = {port}" for name, port in ports.items())])
        )
        taken = socket.create_server(("127.0.0.1", ports["kernel"]))
        daemon = Daemon(short_path, "--config", str(short_path / "dadms.toml"))
        why = f"cannot listen on 127.0.0.1:{ports['kernel']} (kernel): Address already in use"
        log = daemon.state_dir / "logs" / "servers.log"
        try:
            while not log.exists() or log.read_text().count("dadmsd: bus (pid") < 4:  # the test's own time-out ends a wait in vain
                time.sleep(0.02)
            assert daemon.said().count(why) == 1
            taken.close()
            wait_for(daemon)
            assert "ready on" in daemon.said()
        finally:
            taken.close()
            daemon.close()


def test_a_network_without_encryption_is_refused_at_start(short_path: Path, ctl: Ctl) -> None:
    """With the line that asks for it."""
    path = short_path / "dadms.toml"
    path.write_text("[network]\nenabled = true\ncurve = false\n")
    done = ctl("config", "check", path)
    assert done.returncode == 4
    assert ":3: [network] curve = false: nothing is said to a network without CURVE" in done.stderr


def test_a_batch_of_decisions_goes_over_the_network_too(ctl: Ctl, daemon: tuple[Daemon, dict[str, int]], short_path: Path) -> None:
    """Through both doors: what starts the process, and what carries its rows."""
    running, ports = daemon
    file, rows, output = short_path / "k.key", short_path / "rows.jsonl", short_path / "out.jsonl"
    user = ("--user", "0") if os.geteuid() == 0 else ()
    assert ctl("keys", "new", "k", *user, "--out", file, "--state-dir", running.state_dir).returncode == 0
    rows.write_text('{"cost_risk": 0.1, "score_margin": 0.1, "robustness": 0.2}\n' * 5)
    done = ctl("--host", f"127.0.0.1:{ports['kernel']}", "--key", file, "decision", "batch", GO_NO_GO, "--rows", rows, "--output", output)
    assert done.returncode == 0, done.stderr
    assert output.read_text().count("\n") == 5
    assert [one["orchestrator"] for one in json.loads(ctl("--runtime-dir", running.runtime_dir, "ps", "--all", "--json").stdout)] == [
        "decision"
    ]


def test_files_that_are_named_are_of_the_daemons_machine(ctl: Ctl, daemon: tuple[Daemon, dict[str, int]], short_path: Path) -> None:
    """So nobody looks for them here: the daemon says that they are missing, and a relative name is refused before it is asked."""
    running, ports = daemon
    file, model = short_path / "k.key", short_path / "one.bpmn"
    user = ("--user", "0") if os.geteuid() == 0 else ()
    assert ctl("keys", "new", "k", *user, "--out", file, "--state-dir", running.state_dir).returncode == 0
    model.write_text(
        '<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" targetNamespace="urn:x"><process id="p" isExecutable="true">'
        '<startEvent id="s"/><sequenceFlow id="f" sourceRef="s" targetRef="e"/><endEvent id="e"/></process></definitions>'
    )
    there = ("--host", f"127.0.0.1:{ports['kernel']}", "--key", file)
    for command in (("run", model), ("spawn", "bpmn", "--wait")):
        far = ctl(*there, *command, "--handlers", "/nowhere/handlers.py")
        assert far.returncode == 1
        assert 'cannot read handlers "/nowhere/handlers.py": No such file or directory' in far.stderr
        near = ctl(*there, *command, "--handlers", "handlers.py")
        assert (near.returncode, near.stderr) == (
            4,
            'dadmsctl: cannot use the handlers module "handlers.py": it is on the machine of the daemon, so give its absolute path there\n',
        )
    own = ctl(*there, "run", model, "--private", "--handlers", "/nowhere/handlers.py")
    assert 'cannot read the handlers module "/nowhere/handlers.py"' in own.stderr
    assert ctl("--runtime-dir", running.runtime_dir, "spawn", "bpmn", "--handlers", "/nowhere/handlers.py").returncode == 2
