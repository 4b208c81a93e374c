"""What requests are answered with."""

from typing import get_args

import msgspec
import pytest

from dadms_ipc import requests
from dadms_ipc.answers import ANSWERS, Request, answer_type, decode_answer, patience
from dadms_ipc.codec import encode_body, trouble
from dadms_ipc.errors import DadmsError, InternalError, PeerViolation, RequestRefused
from dadms_ipc.statuses import ERRORS, raise_for


def test_every_request_has_an_answer() -> None:
    """A new request without one is found here."""
    assert set(ANSWERS) == set(get_args(Request))


def test_a_status_depends_on_its_pid() -> None:
    """The daemon's or a process's."""
    assert answer_type(requests.Status()) is requests.DaemonInfo
    assert answer_type(requests.Status(1001)) is requests.ProcessInfo
    assert answer_type(requests.Events()) is requests.EventPage


def test_requests_that_wait_on_purpose_extend_the_deadline() -> None:
    """By as much as they let the kernel wait."""
    assert (patience(requests.Wait(1, timeout=7.0)), patience(requests.Events(wait=3.0)), patience(requests.List())) == (7.0, 3.0, 0.0)


def test_an_answer_is_decoded_or_a_violation() -> None:
    """Fields of a newer kernel are ignored."""
    events = {"events": [], "last": 3, "oldest": 1, "new": True}
    assert decode_answer(requests.Events(), "ok", encode_body(events)) == requests.EventPage([], 3, 1)
    assert decode_answer(requests.Kill(1), "ok", b"\xc0") is None
    with pytest.raises(PeerViolation, match="cannot read the answer to Events"):
        decode_answer(requests.Events(), "ok", b"\x80")


@pytest.mark.parametrize(("status", "error"), [*ERRORS.items(), ("of a later version", InternalError)])
def test_a_status_is_an_error(status: str, error: type[DadmsError]) -> None:
    """With the reason that came along."""
    with pytest.raises(error, match="cannot do it"):
        decode_answer(requests.List(), status, trouble("cannot do it"))


def test_ok_raises_nothing() -> None:
    """Whatever the body is."""
    raise_for("ok", b"\xc1")
    with pytest.raises(RequestRefused, match="no reason was given"):
        raise_for("refused", msgspec.msgpack.encode(None))
