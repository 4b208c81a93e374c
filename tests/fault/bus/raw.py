"""A client that is none of ours: it says whatever a test wants, frame by frame."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

import zmq

from dadms_ipc.codec import decode_batch, decode_header, encode_body, encode_header
from dadms_ipc.envelope import VERSION, Header, Hello, Identity, Kind, message_id


class RawClient:
    """A DEALER at one door."""

    def __init__(self, directory: Path, door: str = "control", *, client: bytes | None = None, route: bytes = b"") -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        if route:
            self.socket.setsockopt(zmq.ROUTING_ID, route)
        self.client = client or os.urandom(16)
        self.sequence = 0
        self._waiting: list[tuple[Header, bytes]] = []
        self.socket.connect(f"ipc://{directory / door}.sock")

    def say(self, kind: int, body: bytes = b"", **fields: object) -> bytes:
        """Send one well-formed envelope; gives its id."""
        self.sequence += 1
        identifier = fields.pop("id", message_id(self.client, self.sequence))
        assert isinstance(identifier, bytes)
        version = fields.pop("version", VERSION)
        self.socket.send_multipart([encode_header(Header(version, kind, identifier, **fields)), body])  # type: ignore[arg-type]  # a test's own fields
        return identifier

    def hello(self, identity: Identity | None = None, credit: int = 256) -> Header:
        """Say hello; gives the header of the answer."""
        proof = identity or Identity(0, 0, b"")
        self.say(Kind.HELLO, encode_body(Hello(self.client, [VERSION], "raw", credit, proof.pid, proof.incarnation, proof.secret)))
        return self.hear()[0]

    def hear(self, seconds: float = 5.0) -> tuple[Header, bytes]:
        """Give the next envelope."""
        while not self._waiting:
            if not self.socket.poll(int(seconds * 1000)):
                raise AssertionError(f"nothing was heard in {seconds:g} s")
            head, body = self.socket.recv_multipart()
            header = decode_header(head)
            heard = decode_batch(body) if header.kind == Kind.BATCH else [(header, body)]
            self._waiting.extend(one for one in heard if one[0].kind != Kind.PING)
        return self._waiting.pop(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.socket.close()
        self.context.term()
