"""Requests to the kernel that are wrong in every way that we know, from one seeded source of chance.

A valid request of each verb is taken apart, changed in one to three places, and packed by hand: what no encoder would write (texts that are no UTF-8, a key twice,
maps whose keys are maps) is written as well. Most changes keep the type of what they change, as a value of the wrong type gets no further than the decoder.
"""

import random
import struct
from typing import Any

import msgspec

from dadms_ipc import context, requests
from dadms_ipc.codec import encode_body

MEGABYTE = 1 << 20
NUMBER = 7  # of a thread that there is not
NESTED = 900  # containers within containers: the bus takes more of them than the kernel


class Packed(bytes):
    """What is on the wire already."""


class Pairs(list[tuple[Any, Any]]):
    """A map whose keys may be anything, and may be there twice."""


NAN, INFINITY = float("nan"), float("inf")
INTEGERS = (0, 1, -1, 2, 1001, 1002, 1003, 1004, 4_000_000, 2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -(2**31), -(2**63))
FLOATS = (0.0, -0.0, -1.0, 1e-9, 0.5, 2.0, 1e18, 1e308, -1e308, 5e-324, NAN, INFINITY, -INFINITY)
TEXTS = (
    "", "\0", "a\0b", "../x", "/", "/proc/self/mem", "1001/17", "1001", "group:", "group:x", "kernel", "*", "x" * 4097, "\u202e", "\ufffe", "\U0010ffff", "é" * 300,
    "main", "ended", "ready", "kill", "suspend", "resume", "priority", "always", "notify", "exec", "daemon", "tool", "service", "bpmn", "os:system", "%s%n", "\n", "-1", "nan",
)  # fmt: skip
BROKEN = (
    Packed(b"\xa1\xff"),  # no UTF-8
    Packed(b"\xa3\xed\xa0\x80"),  # a surrogate
    Packed(b"\xa2\xc0\x80"),  # NUL, too long
    Packed(b"\xd9\x04\xf8\x88\x80\x80"),
    Packed(b"\x81\xa1\xff\x01"),
    Packed(b"\x81\x80\x01"),  # a map as a key
    Packed(b"\x81\x91\x01\x02"),
    Packed(b"\x81\xc0\x01"),
    Packed(b"\xc7\x04\x05abcd"),  # an extension
    Packed(b"\xd6\xff\xff\xff\xff\xff"),  # a time
    Packed(b"\xc7\x0c\xff" + b"\xff" * 12),  # a time that is none
    Packed(b"\xd7\xff" + b"\xff" * 8),
    Packed(b"\xca\x7f\xc0\x00\x00"),
    Packed(b"\xc4\x03\xff\x00\xff"),
    Packed(b"\x91" * NESTED + b"\xc0"),
    Packed(b"\x81\xa1a" * NESTED + b"\xc0"),
    Packed(b"\x91" * 70 + b"\xa1\xff"),
)
ODD: tuple[Any, ...] = (None, True, False, [], Pairs(), b"", b"\0" * 40, *INTEGERS[:4], *FLOATS[:3], *BROKEN)
NAMES = (
    "verb",
    "op",
    "pid",
    "tid",
    "spec",
    "name",
    "x",
    "",
    "timeout",
    "group",
    "limits",
    "region",
    "changes",
    "limit",
    "workers",
    "memory",
)


def _spec(**fields: Any) -> requests.Spec:
    return requests.Spec(
        "fuzz", kind="tool", command=["/bin/true"], enforcement="best-effort", group="fuzz", directory="/", restart="never", environment={"FUZZ": "1"},
        stop_timeout=0.5, start_limit=2, backoff=0.05, success_codes=(0, 1), restart_codes=[3], final_codes=[4], run_timeout=5.0, ready_timeout=5.0, **fields,
    )  # fmt: skip


_RAW = msgspec.Raw(encode_body({"a": 1, "b": [1.5, None, "c"]}))
_OPERATIONS: tuple[Any, ...] = (
    context.Set("r", "k", _RAW),
    context.Set("r", "n", msgspec.Raw(encode_body(1)), context.Guard("l", 1)),
    context.Update("r", "k", _RAW),
    context.Cas("r", "k", _RAW, 0),
    context.Increment("r", "n", 1),
    context.Increment("r", "n", 1.5),
    context.Delete("r", "k"),
    context.Share("r", ["*", "1001/17"], ["main", "1002"]),
    context.Break("r", "l"),
)


def valid(pid: int) -> list[bytes]:
    """Give requests of every verb but ``shutdown``, about this process."""
    asked: list[Any] = [
        requests.Spawn(_spec()),
        requests.Spawn(_spec(limits=requests.Limits(memory=64 * MEGABYTE, cpu=0.5, pids=20, core=0, io={"/": requests.IoLimit(1, 2, 3, 4)}))),
        requests.Spawn(_spec(after=["fuzz"], requires=["fuzz"], escalate="group", weight=2.0, parent=pid, nice=3, umask=0o77, memory_request=1, cpu_request=0.1)),
        requests.Spawn(_spec(ready="exec", ready_command=["/bin/true"], live_command=["/bin/true"], watchdog=5.0, max_age=5.0, uid=0, gid=0)),
        requests.Kill(pid, reason="fuzz"),
        requests.Start(pid),
        requests.Stop(pid, reason="fuzz"),
        requests.Restart(pid, reason="fuzz"),
        requests.Suspend(pid),
        requests.Resume(pid),
        requests.ChangeLimits(pid, {"memory": 64 * MEGABYTE, "cpu": 0.5, "nice": 2, "memory_request": 1}),
        requests.ChangeLimits(pid, {"workers": 2, "io": {"/": {"read_bytes": 1}}, "files": 100, "cpu_request": 0.1}),
        requests.KillThread(NUMBER),
        requests.SuspendThread(NUMBER),
        requests.ResumeThread(NUMBER),
        requests.SetThreadPriority(NUMBER, 5),
        requests.ShowThread(NUMBER),
        requests.SteerGroup(pid, "g", "priority", 3),
        requests.Groups(pid),
        requests.WaitThreads(pid, [NUMBER, 8], count=1, timeout=0.2),
        requests.WaitThreads(pid, group="g", timeout=0.2),
        requests.Wait(pid, "ended", 0.2),
        requests.List(),
        requests.Status(pid),
        requests.Threads(pid, 10, "g"),
        requests.Events(0, pid, 10, 0.1),
        requests.History(pid, 10),
        requests.Explain(pid),
        requests.ReadLog(pid, 0, 100),
        requests.ReadContext(pid, context.Regions()),
        requests.ReadContext(pid, context.Get("r", "k")),
        requests.ReadContext(pid, context.Watch("r", "k", 0, 0.2)),
        *(requests.ChangeContext(pid, operation) for operation in _OPERATIONS),
        requests.Reload(),
        requests.Compare(),
        requests.Configuration(),
    ]  # fmt: skip
    return [encode_body(request) for request in asked]


def changed(chance: random.Random, plain: list[bytes]) -> bytes:
    """Give one of some messages that are arrays, with one or two of its elements changed."""
    tree = _pairs(msgspec.msgpack.decode(chance.choice(plain)))
    for _ in range(chance.choice((0, 1, 1, 2)) if len(tree) > 1 else 0):
        place = chance.randrange(1, len(tree))
        tree[place] = _change(chance, tree[place], 1)
    return pack(tree)


def request(chance: random.Random, plain: list[bytes]) -> bytes:
    """Give one request, wrong as a rule."""
    if chance.random() < 0.1:
        return absurd(chance)
    tree = _pairs(msgspec.msgpack.decode(chance.choice(plain)))
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
        tree = _change(chance, tree)
    packed = pack(tree)
    if chance.random() < 0.03:  # a byte is another
        broken = bytearray(packed)
        broken[chance.randrange(len(broken))] = chance.randrange(256)
        return bytes(broken)
    return packed


def absurd(chance: random.Random) -> bytes:
    """Give a request to start a process, or to change the limits of one, with one field, of all there are, far beyond what a host can mean."""
    struct = chance.choice((requests.Spec, requests.Limits, requests.IoLimit))
    field = {chance.choice(struct.__struct_fields__): chance.choice((*INTEGERS, *FLOATS, *TEXTS))}
    own: dict[str, Any] = field if struct is requests.Spec else {"limits": field if struct is requests.Limits else {"io": {"/": field}}}
    if struct is not requests.Spec and chance.random() < 0.3:
        return encode_body({"verb": "limits", "pid": 1001, "changes": own["limits"]})
    spec = {"name": "fuzz", "kind": "service", "command": ["/bin/true"], "enforcement": "best-effort", "group": "fuzz", "restart": "never"}
    return encode_body({"verb": "spawn", "spec": spec | own})


def pack(value: Any) -> bytes:
    """Encode a tree, what is packed as it is."""
    if isinstance(value, Packed):
        return bytes(value)
    if isinstance(value, Pairs):
        return struct.pack(">BI", 0xDF, len(value)) + b"".join(pack(key) + pack(each) for key, each in value)
    if isinstance(value, list):
        return struct.pack(">BI", 0xDD, len(value)) + b"".join(map(pack, value))
    return encode_body(value)


def _pairs(value: Any) -> Any:
    if isinstance(value, dict):
        return Pairs((key, _pairs(each)) for key, each in value.items())
    return [_pairs(each) for each in value] if isinstance(value, list) else value


def _change(chance: random.Random, value: Any, depth: int = 0) -> Any:
    """Change one place of a tree: most often a leaf."""
    if isinstance(value, Pairs) and value and (not depth or chance.random() < 0.85):
        return _change_map(chance, value, depth)
    if isinstance(value, list) and not isinstance(value, Pairs) and value and chance.random() < 0.7:
        place = chance.randrange(len(value))
        return [*value[:place], _change(chance, value[place], depth + 1), *value[place + 1 :]]
    return _other(chance, value)


def _change_map(chance: random.Random, value: Pairs, depth: int) -> Pairs:
    changed = Pairs(value)
    place = chance.randrange(len(changed))
    key, inner = changed[place]
    match chance.randrange(16):
        case 0:
            del changed[place]
        case 1:
            changed.append((chance.choice(NAMES), chance.choice(ODD)))
        case 2:
            changed.append((key, _other(chance, inner)))  # twice
        case 3:
            changed[place] = (chance.choice((*NAMES, *ODD)), inner)
        case _:
            if key in ("verb", "op") and chance.random() < 0.8:  # another verb leaves little that fits
                place = (place + 1) % len(changed)
                key, inner = changed[place]
            changed[place] = (key, _change(chance, inner, depth + 1))
    return changed


def _other(chance: random.Random, value: Any) -> Any:
    if chance.random() < 0.25:
        return chance.choice(ODD)
    if chance.random() < 0.003:
        return chance.choice(
            ("x" * MEGABYTE, list(range(100_000)), ["x"] * 100_000, Pairs((str(each), each) for each in range(50_000)), b"\0" * MEGABYTE)
        )
    match value:
        case bool():
            return not value
        case int():
            return chance.choice((*INTEGERS, chance.randrange(-20, 5000), chance.choice(FLOATS)))
        case float():
            return chance.choice((*FLOATS, *INTEGERS))
        case str():
            return chance.choice((*TEXTS, *BROKEN))
        case Pairs():
            return chance.choice((Pairs(), Pairs([*value, *value]), [list(pair) for pair in value], Pairs((each, each) for each in TEXTS)))
        case list():
            return chance.choice(([], value * 50, [value], [*value, *ODD], list(INTEGERS), list(TEXTS), list(FLOATS)))
    return chance.choice((*INTEGERS, *FLOATS, *TEXTS, *ODD))
