"""Frames to envelopes and back, strictly: whatever is not an envelope raises PeerViolation with the reason, and nothing else ever does.

A batch is an ordinary message of kind BATCH whose body is the msgpack array ``[[header, body], …]`` with the bodies as binaries. Only what is small is
put into batches (copying 16 KiB costs less than a frame of its own); a batch holds no batch.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec

from dadms_ipc.envelope import BATCH_LIMIT, HEADER_LIMIT, RUN_LIMIT, VERSION, Header, Kind, Trouble
from dadms_ipc.errors import PeerViolation, RequestRefused

BATCHED_BODY = 16 * 1024  # bytes: a larger body travels on its own
BATCH_BYTES = 256 * 1024  # bytes of bodies that a sender puts into one batch

Body = TypeVar("Body")

_encoder = msgspec.msgpack.Encoder()
_header = msgspec.msgpack.Decoder(Header)
_batch = msgspec.msgpack.Decoder(Annotated[list[tuple[Header, bytes]], msgspec.Meta(max_length=BATCH_LIMIT)])
_run = msgspec.msgpack.Decoder(Annotated[list[bytes], msgspec.Meta(min_length=1, max_length=RUN_LIMIT)])
_any_version = msgspec.msgpack.Decoder(list[msgspec.Raw])
_integer = msgspec.msgpack.Decoder(int)
_raw = msgspec.msgpack.Decoder(msgspec.Raw)
_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}

# RecursionError: arrays nested some thousand deep; UnicodeDecodeError is a ValueError.
_BROKEN: Final = (msgspec.DecodeError, ValueError, RecursionError, OverflowError)

encode_header = _encoder.encode
encode_body = _encoder.encode

BATCH_HEADER = encode_header(Header(VERSION, Kind.BATCH))


def encode_request(request: object) -> bytes:
    """Give the body of a request; raises RequestRefused where a text in it is none, as a path whose bytes are not UTF-8 (PEP 383)."""
    try:
        return encode_body(request)
    except UnicodeEncodeError as error:
        text = str(error.object).encode(errors="backslashreplace").decode()
        raise RequestRefused(
            f'cannot ask for {type(request).__name__}: "{text}" is not UTF-8, and all that is sent and stored is'
        ) from error


def decode_header(frame: bytes | memoryview) -> Header:
    """Read a header frame; a header of another version is given with its version only, for the caller to refuse."""
    if len(frame) > HEADER_LIMIT:
        raise PeerViolation(f"a header of {len(frame)} bytes, at most {HEADER_LIMIT}")
    try:
        header = _header.decode(frame)
    except _BROKEN as error:
        version = version_of(frame)
        if version != VERSION and version is not None:
            return Header(version, 0)
        raise PeerViolation(f"cannot read a header: {error}") from error
    return header


def version_of(frame: bytes | memoryview) -> int | None:
    """Give the first element of a header whose other elements cannot be read; None when it is not even that."""
    try:
        version = _integer.decode(_any_version.decode(frame)[0])
    except (*_BROKEN, IndexError):
        return None
    return version if version >= 0 else None


def encode_batch(envelopes: Sequence[tuple[Header, bytes]]) -> bytes:
    """Give the body of a batch."""
    return _encoder.encode(envelopes)


def decode_batch(body: bytes | memoryview) -> list[tuple[Header, bytes]]:
    """Read the body of a batch; one broken envelope condemns the whole batch."""
    try:
        envelopes: list[tuple[Header, bytes]] = _batch.decode(body)
    except _BROKEN as error:
        raise PeerViolation(f"cannot read a batch: {error}") from error
    return envelopes


def decode_run(body: bytes | memoryview) -> list[bytes]:
    """Read the body of a run."""
    try:
        bodies: list[bytes] = _run.decode(body)
    except _BROKEN as error:
        raise PeerViolation(f"cannot read a run: {error}") from error
    return bodies


def decode_body(body: bytes | memoryview, form: type[Body]) -> Body:
    """Read a body of the protocol's own (Hello, Welcome …)."""
    decoder = _decoders.get(form)
    if decoder is None:
        decoder = _decoders[form] = msgspec.msgpack.Decoder(form)
    try:
        decoded: Body = decoder.decode(body)
    except _BROKEN as error:
        raise PeerViolation(f"cannot read a body: {error}") from error
    return decoded


def is_one_value(body: bytes) -> bool:
    """Tell whether a body is exactly one msgpack value: what is embedded in another message must be."""
    try:
        _raw.decode(body)
    except _BROKEN:
        return False
    return True


def trouble(message: str) -> bytes:
    """Give the body of an answer that is not OK."""
    return _encoder.encode(Trouble(message))


def trouble_of(body: bytes | memoryview) -> str:
    """Give the reason in the body of an answer that is not OK."""
    try:
        return decode_body(body, Trouble).message
    except PeerViolation:
        return "no reason was given"
