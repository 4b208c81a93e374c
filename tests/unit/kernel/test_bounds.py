"""No number and no text of a specification is beyond what a host can mean: every field there is, by a request, by a change of limits and by a file."""

import math
import subprocess
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dadms_ipc.requests import ChangeLimits, IoLimit, Limits, Spawn, Spec
from dadmsd import definitions
from dadmsd.kernel import host
from dadmsd.kernel.core import bounds, soundness
from dadmsd.kernel.host import limits
from dadmsd.kernel.host.caps import CPU_PERIOD, quota
from dadmsd.kernel.host.mounts import Found
from tests.unit.kernel.driver import Driver
from tests.unit.kernel.test_restarts import command

ABSURD = (1e308, math.inf, -math.inf, math.nan, -1, 2**63, 2**64 - 1)
KEYS = {"uid": "user", "gid": "user_group"}  # of files, where they are no field


def kinds_of(annotation: Any) -> set[type]:
    """Give the plain types within an annotation."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union, list, tuple, dict):
        return {kind for each in typing.get_args(annotation) for kind in kinds_of(each)}
    return {annotation}


def numbers(struct: type[msgspec.Struct]) -> set[str]:
    """Name the fields that are a number, or none."""
    return {each.name for each in msgspec.structs.fields(struct) if kinds_of(each.type) - {type(None)} in ({int}, {float})}


LISTS = {"success_codes", "restart_codes", "final_codes"}  # each of whose numbers is an exit code
SPEC_NUMBERS, LIMIT_NUMBERS = sorted(numbers(Spec) - LISTS), sorted(numbers(Limits))
SPEC_TEXTS = [each.name for each in msgspec.structs.fields(Spec) if str in kinds_of(each.type)]


def values_for(struct: type[msgspec.Struct], name: str) -> Iterator[float]:
    """Give the absurd values that a decoder would let through for a field."""
    is_float = float in kinds_of(next(each.type for each in msgspec.structs.fields(struct) if each.name == name))
    yield from (
        float(each) if is_float else each for each in ABSURD if (is_float or isinstance(each, int)) and (name, each) != ("nice", -1)
    )


NUMBERS = [
    *((name, value, {name: value}) for name in SPEC_NUMBERS for value in values_for(Spec, name)),
    *((name, value, {"limits": Limits(**{name: value})}) for name in LIMIT_NUMBERS for value in values_for(Limits, name)),  # type: ignore[arg-type] # of the type that the field has
    *((name, value, {"limits": Limits(io={"/": IoLimit(**{name: value})})}) for name in sorted(numbers(IoLimit)) for value in (-1, 0, 2**63)),
    *((name, -1, {name: [-1]}) for name in sorted(LISTS)),
]  # fmt: skip


def test_the_tables_have_every_number_and_every_text_there_is() -> None:
    """A field that is added without a bound is told here."""
    assert set(bounds.BOUNDS) == set(SPEC_NUMBERS)
    assert set(bounds.LIMITS) == set(LIMIT_NUMBERS)
    assert numbers(IoLimit) == set(IoLimit.__struct_fields__)
    assert list(bounds.TEXTS) == SPEC_TEXTS


@pytest.mark.parametrize(("name", "value", "changes"), NUMBERS, ids=[f"{name}={value}" for name, value, _ in NUMBERS])
def test_no_absurd_number_is_admitted(name: str, value: float, changes: dict[str, Any]) -> None:
    driver = Driver()
    reason = driver.refusal(Spawn(Spec("x", kind="service", command=["c"], **changes)))
    assert reason.startswith('cannot start "x"')
    assert name in reason or "user" in reason or "pid" in reason
    assert not driver.state.processes
    field = next(iter(changes))
    assert any(name in why for _, why in bounds.number_flaws(Spec("x", **changes))) or field in LISTS


def test_the_refusal_has_the_most_and_its_unit() -> None:
    driver = Driver()
    for changes, words in (
        ({"stop_timeout": 1e308}, "stop_timeout = 1e+308: the most is 2592000 s"),
        ({"limits": Limits(core=2**64 - 1)}, "core = 18446744073709551615: the most is 1024 TiB"),
        ({"limits": Limits(files=2**31)}, "files = 2147483648: the most is 2147483584"),
        ({"limits": Limits(io={"/dev/sda": IoLimit(read_bytes=0)})}, "read_bytes of /dev/sda is 0, at least 1 is needed"),
        ({"gid": 2**32 - 1}, "gid is 4294967295, it can be from 0 to 4294967294"),
    ):
        assert driver.refusal(Spawn(Spec("x", kind="tool", command=["c"], **changes))) == f'cannot start "x": {words}'


@pytest.mark.parametrize("name", sorted({*bounds.LIMITS, *bounds.CHANGED}))
def test_no_absurd_number_is_put_in_force(name: str) -> None:
    driver = Driver()
    pid = command(driver)
    before = driver.process(pid).spec
    for value in values_for(Limits if name in bounds.LIMITS else Spec, name):
        assert name in driver.refusal(ChangeLimits(pid, {name: value}))
    assert driver.process(pid).spec == before


def toml(value: float) -> str:
    return repr(value).replace("e+", "e")


@pytest.mark.parametrize("name", [*SPEC_NUMBERS, *LIMIT_NUMBERS])
def test_an_absurd_number_in_a_file_is_told_with_its_line_and_costs_that_file_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "good.toml").write_text('command = "good"\n')
    table = "" if name in SPEC_NUMBERS else "[limits]"
    for value in values_for(Spec if name in SPEC_NUMBERS else Limits, name):
        (tmp_path / "a.toml").write_text(f'command = "a"\n{table}\n{KEYS.get(name, name)} = {toml(value)}\n')
        reading = definitions.read(tmp_path)
        assert [each.name for each in reading.definitions] == ["good"], value
        assert reading.mistakes[0].startswith("a.toml:3: "), value
        assert "broke" not in reading.mistakes[0]


@pytest.mark.parametrize("size", ["9" * 400, "99999999T", "1025T"])
def test_a_size_that_is_too_large_is_a_mistake_of_its_file(tmp_path: Path, size: str) -> None:
    (tmp_path / "a.toml").write_text(f'command = "a"\n[limits]\nmemory = "{size}"\n')
    assert definitions.read(tmp_path).mistakes == [f"a.toml:3: limit memory = {size!r}: it is too large: the most is 1024T"]


def spoilt(name: str, character: str) -> dict[str, Any]:
    """Give a field of a specification with a character in one of its texts."""
    kind = typing.get_origin(next(each.type for each in msgspec.structs.fields(Spec) if each.name == name))
    text = f"/x{character}y"
    return {name: [text] if kind is list else {"A": text} if kind is dict else text}


@pytest.mark.parametrize("name", [name for name in SPEC_TEXTS if name != "name"])
def test_no_text_is_admitted_that_no_call_takes(name: str) -> None:
    driver = Driver()
    for character, words in (("\0", f"a null byte is in its {name}"), ("\udcff", f"its {name} has half of a character")):
        fields: dict[str, Any] = {"kind": "service", "command": ["c"]} | spoilt(name, character)
        assert words in driver.refusal(Spawn(Spec("x", **fields)))
    assert not driver.state.processes
    limited = Limits(io={"/dev/s\0da": IoLimit(read_bytes=1)})
    assert driver.refusal(Spawn(Spec("x", kind="tool", command=["c"], limits=limited))) == 'cannot start "x": a null byte is in its io'
    pid = command(driver)
    assert "a null byte is in its io" in driver.refusal(ChangeLimits(pid, {"io": {"/dev/s\0da": {"read_bytes": 1}}}))


def test_a_name_with_a_null_byte_is_no_name() -> None:
    assert "printable characters" in Driver().refusal(Spawn(Spec("x\0y", kind="tool", command=["c"])))


TEXT_KEYS = [*SPEC_TEXTS, "user", "user_group", "umask", "stop_signal", "memory_request"]


@pytest.mark.parametrize("name", TEXT_KEYS)
def test_a_null_byte_in_a_file_is_told_with_its_line_and_costs_that_file_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "good.toml").write_text('command = "good"\n')
    text = '"x\\u0000y"'
    value = f"[{text}]" if name in ("after", "requires") else f"{{A = {text}}}" if name == "environment" else text
    rest = "" if name == "command" else 'command = "a"'
    (tmp_path / "a.toml").write_text(f"{name} = {value}\n{rest}\n")
    reading = definitions.read(tmp_path)
    assert [each.name for each in reading.definitions] == ["good"]
    assert reading.mistakes[0].startswith("a.toml:1: ")
    assert f"a null byte is in its {name}" in reading.mistakes[0]


def test_a_config_that_cannot_be_kept_is_a_mistake_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('orchestrator = "bpmn"\nconfig = {a = 99999999999999999999999}\n')
    assert definitions.read(tmp_path).mistakes[0].startswith("a.toml:2: config = {'a': 99999999999999999999999}: it cannot be kept: ")


def test_what_breaks_the_check_itself_is_a_mistake_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever nobody has foreseen: here a check that fails at one definition."""

    def breaks(spec: Spec) -> Iterator[tuple[str, str]]:
        return iter([("", str(1 // 0))]) if spec.name == "bad" else soundness.flaws(spec)

    monkeypatch.setattr("dadmsd.definitions.flaws", breaks)
    for name in ("bad", "good"):
        (tmp_path / f"{name}.toml").write_text(f'command = "{name}"\n')
    reading = definitions.read(tmp_path)
    assert [each.name for each in reading.definitions] == ["good"]
    assert reading.mistakes == ["bad.toml: the check itself broke: ZeroDivisionError: integer division or modulo by zero"]
    assert list(reading.bad_names) == ["bad"]


def test_what_an_older_daemon_took_in_is_cut_to_what_the_host_takes() -> None:
    """RLIMIT_CORE of 2**64 - 1 and a quota of 1e308 cores are no C long; a process of ours gets what there can be."""
    plan = limits.plan(Limits(core=2**64 - 1), host.choose(Found(None, {}), "dadms-test"), "main")
    assert ("RLIMIT_CORE", limits.RLIMIT_MOST) in plan.rlimits
    with subprocess.Popen(["sleep", "100"]) as sleeper:
        try:
            limits.apply(plan, sleeper.pid)
        finally:
            sleeper.kill()
    assert quota(1e308) == 1_000_000 * CPU_PERIOD


def test_a_text_beyond_ascii_is_a_text_like_any_other() -> None:
    driver = Driver()
    pid = command(driver, directory="/é", environment={"NAME": "名"}, group="\U0010ffff")
    assert driver.process(pid).spec.directory == "/é"
