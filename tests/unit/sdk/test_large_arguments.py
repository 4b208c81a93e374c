"""Arguments that are too large for a message are refused where they are made, and the refusal says what to do instead."""

import socket
from collections.abc import Callable

import msgspec
import pytest

from dadms_ipc import port
from dadms_ipc.errors import RequestRefused
from dadms_orchestrators.sdk.process import SUBMIT_LIMIT, Process

LARGE = bytes(SUBMIT_LIMIT)

ASKED: dict[str, Callable[[Process], object]] = {
    "create": lambda process: process.create("work", LARGE),
    "submit": lambda process: process.submit("work", [LARGE]),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_an_argument_above_the_limit_is_refused_with_the_number_and_what_to_do(ask: Callable[[Process], object]) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = Process(ours, port.Gate(1001, 1, b"s" * 32, "p", msgspec.Raw(b"\x80"), "", "", "/", 5.0))
    try:
        with pytest.raises(RequestRefused, match=rf'"work": {SUBMIT_LIMIT + 5} bytes of arguments, at most {SUBMIT_LIMIT} .* artifact'):
            ask(process)
        assert process.open_threads == 0
    finally:
        process.close()
        theirs.close()
