"""Frames to envelopes and back."""

import os

import pytest

from dadms_ipc import requests
from dadms_ipc.codec import (
    decode_batch,
    decode_body,
    decode_header,
    encode_batch,
    encode_body,
    encode_header,
    encode_request,
    is_one_value,
    trouble,
    trouble_of,
    version_of,
)
from dadms_ipc.envelope import HEADER_LIMIT, VERSION, Header, Invite, Kind, message_id, split_id
from dadms_ipc.errors import PeerViolation, RequestRefused


def test_a_header_survives_the_wire() -> None:
    """Field by field."""
    header = Header(VERSION, Kind.SEND, message_id(b"c" * 16, 2**64 - 1), "1001/17", "1002", "TASK", message_id(b"d" * 16, 1), 5000, 1)
    assert decode_header(encode_header(header)) == header


def test_a_message_id_is_client_and_sequence() -> None:
    """Both ways."""
    assert split_id(message_id(b"c" * 16, 258)) == (b"c" * 16, 258)
    assert message_id(b"c" * 16, 258) == b"c" * 16 + b"\0\0\0\0\0\0\1\2"


def test_trailing_fields_may_be_left_out_and_unknown_ones_are_ignored() -> None:
    """The compatibility rules."""
    assert decode_header(encode_body([1, 10])) == Header(1, 10)
    assert decode_header(encode_body([1, 10, b"", "", "", "", b"", 0, 0, 0, "new", {"a": 1}])) == Header(1, 10)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        b"\x80",
        b"\x90",
        b"\x91\x01",
        b"\x91" * 4000,
        b"\xdd\xff\xff\xff\xff",
        encode_body([1, -1]),
        encode_body([1, "10"]),
        encode_body([1, 10.5]),
        encode_body([1, 2**60]),
        encode_body([1, 10, "text"]),
        encode_body([1, 10, bytes(25)]),
        encode_body([1, 10, b"", "x" * 129]),
        encode_body([1, 10, b"", "", "x" * 129]),
        encode_body([1, 10, b"", "", "", "x" * 257]),
        encode_body([1, 10, b"", "", "", "", b"", -5]),
        encode_body(["1", 10]),
        encode_body([-1, 10]),
        encode_body([1, 10, b"", b"\xff"]),
        b"\x93\x01\x0a\xc4",
        encode_header(Header(VERSION, 10)) + b"\0",
        bytes(HEADER_LIMIT + 1),
        encode_body([1, 10, b"", "", "", "", b"", 0, 0, "x" * HEADER_LIMIT]),
    ],
)
def test_what_is_no_header_is_a_violation(frame: bytes) -> None:
    """And never another exception."""
    with pytest.raises(PeerViolation):
        decode_header(frame)


def test_another_versions_header_is_known_by_its_first_element() -> None:
    """Whatever the rest has become."""
    assert decode_header(encode_body([2, {"new": 1}])) == Header(2, 0)
    assert decode_header(encode_body([2, 10])).version == 2
    assert version_of(b"\xc1") is None
    assert version_of(encode_body([])) is None
    assert version_of(encode_body([-3])) is None


def test_a_batch_survives_the_wire() -> None:
    """In order."""
    batch = [(Header(VERSION, Kind.PUBLISH, message_id(b"c" * 16, n), topic="a"), bytes([n])) for n in range(5)]
    assert decode_batch(encode_batch(batch)) == batch


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x91\x90",
        b"\x91\x92\x90\xc4\0",
        b"\xdc\xff\xff",
        encode_body([[[1, 10], "text"]]),
        encode_body([[[1, 10], b""]] * 1025),
    ],
)
def test_what_is_no_batch_is_a_violation(body: bytes) -> None:
    """As a whole."""
    with pytest.raises(PeerViolation):
        decode_batch(body)


def test_bodies_of_the_protocol_are_read_strictly() -> None:
    """New keys are ignored, missing ones are not."""
    assert decode_body(encode_body({"bus": b"b", "versions": [1], "new": 1}), Invite) == Invite(b"b", [1])
    for body in (b"", b"\x80", encode_body({"bus": "text", "versions": [1]}), b"\x91" * 4000):
        with pytest.raises(PeerViolation):
            decode_body(body, Invite)


def test_the_reason_of_a_trouble_is_its_message() -> None:
    """A body that is none has no reason, which is said."""
    assert trouble_of(trouble("cannot")) == "cannot"
    assert trouble_of(b"\xc1") == "no reason was given"


@pytest.mark.parametrize(
    ("body", "is_one"),
    [(b"\x80", True), (b"\x81\xa1a\x01", True), (b"", False), (b"\x81", False), (b"\x80\x80", False), (b"\x91" * 4000, False)],
)
def test_one_value_is_told_from_none_and_more(body: bytes, is_one: bool) -> None:
    """What is embedded in another message must be exactly one."""
    assert is_one_value(body) is is_one


def test_a_request_whose_text_is_no_utf_8_is_refused_with_the_text() -> None:
    """A path of other bytes is such a text (PEP 383)."""
    with pytest.raises(RequestRefused, match=r'cannot ask for Spawn: "/home/caf\\udce9" is not UTF-8'):
        encode_request(requests.Spawn(requests.Spec(name="x", directory=os.fsdecode(b"/home/caf\xe9"))))
