"""The messages that docs/reference/kernel-bus.md shows, as a channel makes them."""

import hashlib

import msgspec

from dadms_ipc import requests
from dadms_ipc.channel import VERSION
from dadmsd.kernel import link

CLIENT = bytes.fromhex("c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1")
BOOT = "11111111-2222-3333-4444-555555555555"


def _frame(sequence: int, body: link.Message) -> bytes:
    return msgspec.msgpack.encode((VERSION, 3, sequence, body))


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(value))


EXAMPLES: dict[str, list[bytes]] = {
    "bus-hello": [_frame(1, link.BusHello(2, 4711))],
    "kernel-hello": [_frame(1, link.KernelHello(BOOT, "0.1.0"))],
    "enrolled": [_frame(2, link.Enrolled(1001, 1, "uas", 1000, hashlib.sha256(bytes(range(32))).digest(), "group"))],
    "roster-sent": [_frame(3, link.RosterSent(1))],
    "request": [_frame(2, link.Request(CLIENT, 7, 1000, "admin", "uid 1000 pid 4242", _raw(requests.Status(1001)), 4321.5))],
    "reply": [_frame(4, link.Reply(CLIENT, 7, "refused", _raw({"message": "cannot show process 1001: there is none"})))],
    "event": [
        _frame(
            5,
            link.Event(
                42, "events/1001/process.running", _raw(requests.EventInfo(42, 1_795_437_716.5, 1001, "process.running", "etl is ready"))
            ),
        )
    ],
    "expected": [_frame(2, link.Expected(1001, "uas", "group"))],
    "discharged": [_frame(6, link.Discharged(1001, 1))],
    "paused": [_frame(6, link.Paused(1001, is_paused=True))],
    "client-gone": [_frame(3, link.ClientGone(CLIENT))],
    "events-wanted": [_frame(5, link.EventsWanted(True))],
    "wanted": [_frame(4, link.Wanted(1001))],
}
