"""The v2 backend against a fake of the kernel's file protocol: who may live where, what is handed down, what is read back.

The fake keeps the rules of the kernel's documentation "cgroup-v2": controllers come from the group above, a group that hands them down holds no process, and a
file exists where its controller is enabled. The real hierarchy is under test in the integration tests, as far as it has controllers there.
"""

import errno
import os

import pytest

from dadms_ipc.errors import HostFailure
from dadmsd.kernel.host.caps import Caps, IoCap, Usage
from dadmsd.kernel.host.tree import Tree
from dadmsd.kernel.host.v2 import V2

OWN = "/system.slice/dadmsd.service"
INSTANCE = f"{OWN}/dadms-1"
LIMITED = {
    "memory": {"memory.max": "max", "memory.swap.max": "max", "memory.high": "max"},
    "cpu": {"cpu.max": "max 100000", "cpu.weight": "100"},
    "pids": {"pids.max": "max"},
    "io": {"io.max": ""},
}


class FakeHost:
    """Groups by path; the daemon's own has what the service manager delegated."""

    def __init__(self, controllers: str = "cpu memory pids", own_pids: tuple[int, ...] = (10, 11)) -> None:
        self.offered = controllers.split()
        self.pids: dict[str, list[int]] = {OWN: list(own_pids), INSTANCE: []}
        self.handed_down: dict[str, set[str]] = {OWN: set(), INSTANCE: set()}
        self.values: dict[tuple[str, str], str] = {}
        self.frozen: set[str] = set()

    def above(self, path: str) -> str:
        return path.rpartition("/")[0]

    def controllers(self, path: str) -> list[str]:
        return self.offered if path == OWN else sorted(self.handed_down[self.above(path)])

    def within(self, path: str) -> list[str]:
        return [name for name in self.pids if name == path or name.startswith(f"{path}/")]

    def make(self, path: str) -> bool:
        if path in self.pids:
            return False
        assert self.above(path) in self.pids
        self.pids[path], self.handed_down[path] = [], set()
        return True

    def remove(self, path: str) -> bool:
        if self.within(path) != [path] or self.pids[path]:
            return False
        del self.pids[path], self.handed_down[path]
        return True

    def read(self, path: str, file: str) -> str | None:
        if path not in self.pids:
            return None
        if file == "cgroup.controllers":
            return " ".join(self.controllers(path)) + "\n"
        if file == "cgroup.subtree_control":
            return " ".join(sorted(self.handed_down[path])) + "\n"
        if file == "cgroup.procs":
            return "".join(f"{pid}\n" for pid in self.pids[path])
        if file == "cgroup.events":
            return f"populated {int(any(self.pids[name] for name in self.within(path)))}\nfrozen {int(path in self.frozen)}\n"
        if file == "cgroup.type":
            return "domain\n"
        for controller in self.controllers(path):
            if file in LIMITED.get(controller, {}):
                value = self.values.get((path, file), LIMITED[controller][file])
                return f"{value}\n" if value else ""
        kept = self.values.get((path, file))
        return None if kept is None else kept + "\n"

    def write(self, path: str, file: str, text: str) -> None:
        if file == "cgroup.procs":
            if self.handed_down[path]:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            for pids in self.pids.values():
                if int(text) in pids:
                    pids.remove(int(text))
            self.pids[path].append(int(text))
        elif file == "cgroup.subtree_control":
            sign, name = text[0], text[1:]
            if sign == "-":
                if any(name in self.handed_down[child] for child in self.within(path) if child != path):
                    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
                self.handed_down[path].discard(name)
                return
            if name not in self.controllers(path):
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            if self.pids[path]:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            self.handed_down[path].add(name)
        elif file == "cgroup.kill":
            for name in self.within(path):
                self.pids[name].clear()
        elif file == "cgroup.freeze":
            (self.frozen.add if text == "1" else self.frozen.discard)(path)
        else:
            if self.read(path, file) is None:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            if file == "memory.max" and text != "max":
                text = str(int(text) // 4096 * 4096)  # the kernel rounds down
            if file == "io.max":
                device = text.split()[0]
                lines = [line for line in self.values.get((path, file), "").splitlines() if line.split()[0] != device]
                text = "\n".join([*lines, *([] if text.count("=max") == 4 else [text])])
            self.values[path, file] = text


class FakeTree(Tree):
    """The operations of a Tree on the fake host."""

    def __init__(self, host: FakeHost, path: str) -> None:
        self.host = host
        self.directory = f"/sys/fs/cgroup{path}"
        self.path = path
        self.is_open = True

    def at(self, group: str) -> str:
        return f"{self.path}/{group}" if group else self.path

    def close(self) -> None:
        self.is_open = False

    def make(self, group: str) -> bool:
        return self.host.make(self.at(group))

    def has(self, group: str) -> bool:
        return group == "cgroup.kill" or self.at(group) in self.host.pids

    def below(self, group: str) -> list[str]:
        return [name[len(self.path) + 1 :] for name in self.host.within(self.at(group)) if name != self.at(group)]

    def remove(self, group: str) -> bool:
        is_gone = True
        for name in [*reversed(self.below(group)), group]:
            if self.at(name) in self.host.pids:
                is_gone = self.host.remove(self.at(name)) and is_gone
        return is_gone

    def write(self, group: str, file: str, text: str) -> None:
        self.host.write(self.at(group), file, text)

    def set(self, group: str, file: str, text: str) -> str:
        try:
            self.host.write(self.at(group), file, text)
        except OSError as error:
            raise HostFailure(f"cannot set {file}") from error
        return self.host.read(self.at(group), file) or ""

    def read(self, group: str, file: str, *, is_short: bool = False) -> str | None:
        return self.host.read(self.at(group), file)


def backend_on(host: FakeHost, servers: tuple[int, ...] = (10, 11)) -> V2:
    def membership(pid: int) -> str:
        return next(path for path, pids in host.pids.items() if pid in pids)

    backend = V2(FakeTree(host, OWN), FakeTree(host, INSTANCE), INSTANCE, membership=membership)
    backend.enclose_servers(servers)
    return backend


def test_servers_make_room_and_every_controller_is_handed_down() -> None:
    host = FakeHost()
    backend = backend_on(host)
    assert backend.holds == {"memory", "cpu", "pids"}
    assert (backend.name, backend.reasons) == ("cgroup v2", ())
    assert host.pids[OWN] == []
    assert host.pids[f"{INSTANCE}/servers"] == [10, 11]
    assert host.handed_down[INSTANCE] == {"memory", "cpu", "pids"}


def test_a_stranger_in_the_own_cgroup_is_not_moved_but_named() -> None:
    host = FakeHost(own_pids=(10, 11, 4242))
    backend = backend_on(host)
    assert backend.holds == frozenset()
    assert backend.name == "cgroup v2 (no memory, no cpu, no pids)"
    assert host.pids[OWN] == [4242]
    assert all("4242" in reason for reason in backend.reasons)


def test_only_what_is_delegated_is_held() -> None:
    backend = backend_on(FakeHost("memory pids"))
    assert backend.holds == {"memory", "pids"}
    assert backend.name == "cgroup v2 (no cpu)"
    with pytest.raises(HostFailure, match='cannot cap cpu of "1001"'):
        backend.create("1001", Caps(cpu=0.5))
    assert backend.groups() == []


def test_enclosing_again_after_a_restart_changes_nothing() -> None:
    host = FakeHost()
    backend_on(host)
    again = backend_on(host)
    assert again.holds == {"memory", "cpu", "pids"}
    assert host.pids[f"{INSTANCE}/servers"] == [10, 11]


def test_caps_are_read_back_and_memory_is_rounded_up_to_a_page() -> None:
    host = FakeHost()
    backend = backend_on(host)
    assert backend.create("1001", Caps(memory=64 * 2**20 + 1, cpu=0.5, pids=16)) == Caps(64 * 2**20 + 4096, 0.5, 16)
    assert host.values[f"{INSTANCE}/1001", "cpu.max"] == "50000 100000"
    assert host.values[f"{INSTANCE}/1001", "memory.swap.max"] == "0"


@pytest.mark.parametrize(
    ("file", "found", "numbers"),
    [
        ("memory.max", "max", r"67108864 and reads max"),
        ("cpu.max", "max 100000", r"50000 and reads max"),
        ("pids.max", "8", r"16 and reads 8"),
    ],
)
def test_a_number_that_does_not_stick_is_told_with_both_and_leaves_no_group(
    monkeypatch: pytest.MonkeyPatch, file: str, found: str, numbers: str
) -> None:
    host = FakeHost()
    backend = backend_on(host)
    honest = host.read
    monkeypatch.setattr(host, "read", lambda path, name: found if name == file else honest(path, name))
    with pytest.raises(HostFailure, match=numbers):
        backend.create("1001", Caps(memory=64 * 2**20, cpu=0.5, pids=16))
    assert backend.groups() == []


def test_a_leaf_gets_memory_from_its_group_and_holds_the_process() -> None:
    host = FakeHost()
    backend = backend_on(host)
    backend.create("1001", Caps(memory=64 * 2**20))
    backend.create("1001/w3", Caps(memory=16 * 2**20))
    host.pids[OWN].append(77)
    backend.attach("1001/w3", 77)
    assert host.handed_down[f"{INSTANCE}/1001"] == {"memory"}
    assert host.pids[f"{INSTANCE}/1001/w3"] == [77]


def test_no_process_enters_a_group_that_has_leaves() -> None:
    host = FakeHost()
    backend = backend_on(host)
    backend.create("1001", Caps())
    backend.create("1001/main", Caps())
    with pytest.raises(HostFailure, match='cannot move process 77 into "1001"'):
        backend.attach("1001", 77)


def test_a_process_that_is_not_where_it_was_put_is_told() -> None:
    host = FakeHost()
    backend = V2(FakeTree(host, OWN), FakeTree(host, INSTANCE), INSTANCE, membership=lambda pid: OWN)
    backend.create("bus", Caps())
    with pytest.raises(HostFailure, match=f"it is in {OWN}, not in {INSTANCE}/bus"):
        backend.attach("bus", 77)


def test_changing_sets_and_lifts() -> None:
    host = FakeHost()
    backend = backend_on(host)
    backend.create("1001", Caps(memory=64 * 2**20, cpu=0.5, pids=16))
    assert backend.change("1001", Caps(memory=32 * 2**20)) == Caps(memory=32 * 2**20)
    read = {file: host.read(f"{INSTANCE}/1001", file) for file in ("memory.max", "memory.swap.max", "cpu.max", "pids.max")}
    assert read == {"memory.max": "33554432\n", "memory.swap.max": "0\n", "cpu.max": "max 100000\n", "pids.max": "max\n"}
    backend.change("1001", Caps())
    assert host.read(f"{INSTANCE}/1001", "memory.swap.max") == "max\n"


def test_what_steers_is_set_read_back_and_lifted() -> None:
    """Swap is none beside a memory cap unless it was asked for; rates are those of the last change alone."""
    host = FakeHost("cpu memory pids io")
    backend = backend_on(host)
    assert backend.steers == {"memory_high", "swap", "cpu_weight", "io"}
    disk, other = IoCap("8:0", 1000, None, None, 50), IoCap("8:16", None, 9, None, None)
    asked = Caps(memory=64 * 2**20, memory_high=32 * 2**20, swap=2**20, cpu_weight=300, io=(disk, other))
    assert backend.create("1001", asked) == asked
    files = ("memory.high", "memory.swap.max", "cpu.weight", "io.max")
    read = [host.read(f"{INSTANCE}/1001", file) for file in files]
    assert read == [
        "33554432\n",
        "1048576\n",
        "300\n",
        "8:0 rbps=1000 wbps=max riops=max wiops=50\n8:16 rbps=max wbps=9 riops=max wiops=max\n",
    ]
    backend.change("1001", Caps(memory=64 * 2**20, io=(other,)))
    read = [host.read(f"{INSTANCE}/1001", file) for file in files]
    assert read == ["max\n", "0\n", "100\n", "8:16 rbps=max wbps=9 riops=max wiops=max\n"]


def test_what_the_host_did_not_delegate_is_not_steered() -> None:
    backend = backend_on(FakeHost("pids"))
    assert backend.steers == frozenset()
    for caps in (Caps(memory_high=2**20), Caps(cpu_weight=5), Caps(io=(IoCap("8:0", 1, None, None, None),))):
        with pytest.raises(HostFailure, match="is not delegated to the daemon"):
            backend.create("1001", caps)


def test_pressure_and_waits_are_usage() -> None:
    host = FakeHost()
    backend = backend_on(host)
    backend.create("1001", Caps())
    at = f"{INSTANCE}/1001"
    host.values |= {
        (at, "cpu.stat"): "usage_usec 1500000\nnr_throttled 3\nthrottled_usec 250000",
        (at, "cpu.pressure"): "some avg10=12.50 avg60=0.00 avg300=0.00 total=5\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0",
        (at, "io.pressure"): "some avg10=0.00 avg60=1.00 avg300=0.00 total=5",
    }
    usage = backend.usage("1001")
    assert usage is not None
    assert (usage.throttled_seconds, usage.pressure) == (0.25, {"cpu": 12.5, "io": 0.0})


def test_usage_comes_from_the_groups_own_files() -> None:
    host = FakeHost()
    backend = backend_on(host)
    backend.create("1001", Caps())
    at = f"{INSTANCE}/1001"
    host.values |= {
        (at, "memory.current"): "8192",
        (at, "memory.peak"): "12288",
        (at, "pids.current"): "3",
        (at, "cpu.stat"): "usage_usec 1500000\nuser_usec 1",
        (at, "memory.events.local"): "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1",
    }
    assert backend.usage("1001") == Usage(8192, 12288, 1.5, 3, 1, 0.0, {})
    assert backend.usage("1001", is_brief=True) == Usage(8192, 12288, 1.5, 3, 0)
    assert backend.refusals("1001") == (1, 2)
    assert backend.usage("1002") is None


def test_a_host_without_memory_peak_has_it_remembered() -> None:
    host = FakeHost()
    backend = backend_on(host)
    backend.create("1001", Caps())
    peaks = []
    for current in ("8192", "4096"):
        host.values[f"{INSTANCE}/1001", "memory.current"] = current
        usage = backend.usage("1001")
        assert usage is not None
        peaks.append(usage.memory_peak)
    assert peaks == [8192, 8192]


def test_a_killed_group_is_empty_and_can_be_removed() -> None:
    host = FakeHost()
    backend = backend_on(host)
    backend.create("1001", Caps())
    backend.create("1001/main", Caps())
    host.pids[f"{INSTANCE}/1001/main"].append(77)
    assert not backend.is_empty("1001")
    assert not backend.remove("1001")
    backend.kill("1001")
    assert backend.is_empty("1001")
    assert backend.remove("1001")
    assert backend.groups() == []


def test_dismantling_gives_the_servers_back_and_leaves_nothing() -> None:
    host = FakeHost()
    backend = backend_on(host)
    backend.create("1001", Caps())
    assert not backend.dismantle()
    backend.remove("1001")
    assert backend.dismantle()
    assert host.pids == {OWN: [10, 11]}
    assert host.handed_down == {OWN: set()}
