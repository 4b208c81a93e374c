"""Runs: consecutive SENDs of one sender to one receiver in one message, and acknowledgements of neighbours among them."""

from collections.abc import Iterator

import msgspec

from dadms_ipc.codec import trouble
from dadms_ipc.envelope import OK, Header, Kind, Span, message_id, split_id


def members(header: Header, bodies: list[bytes]) -> Iterator[tuple[Header, bytes]]:
    """Give the SENDs that a run stands for."""
    client, first = split_id(header.id)
    for place, body in enumerate(bodies):
        yield msgspec.structs.replace(header, kind=int(Kind.SEND), id=message_id(client, first + place)), body


def answers(header: Header, span: Span) -> Iterator[tuple[Header, bytes]]:
    """Give the ACKs that an ACKS stands for."""
    client, first = split_id(header.correlation)
    body = b"" if header.topic == OK else trouble(span.reason)
    for place in range(span.place, span.place + span.count):
        yield msgspec.structs.replace(header, kind=int(Kind.ACK), correlation=message_id(client, first + place)), body
