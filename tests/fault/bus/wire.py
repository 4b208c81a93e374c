"""ZMTP by hand (ZeroMQ RFC 23, NULL): a client that stops wherever a test wants, in the middle of a frame too."""

import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from dadms_ipc.codec import encode_body, encode_header
from dadms_ipc.envelope import VERSION, Header, Hello, Kind, message_id

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x05READY" + b"\x0bSocket-Type" + b"\0\0\0\x06DEALER"
MORE, LONG, COMMAND = 1, 2, 4


def frame(content: bytes, *, flags: int = 0) -> bytes:
    """Give a frame."""
    return head(len(content), flags=flags) + content


def head(size: int, *, flags: int = 0) -> bytes:
    """Give what precedes the content of a frame."""
    if size > 255:
        return bytes([flags | LONG]) + size.to_bytes(8, "big")
    return bytes([flags]) + bytes([size])


class Wire:
    """A connection to a door, after the handshake."""

    def __init__(self, directory: Path, door: str = "data", *, client: bytes = b"w" * 16) -> None:
        self.client = client
        self.sequence = 0
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(directory / f"{door}.sock"))
        self.socket.sendall(GREETING + frame(READY, flags=COMMAND))
        received = b""
        while len(received) < 64 + 2 or len(received) < 66 + received[65]:
            received += self.socket.recv(4096)

    def header(self, kind: int, **fields: object) -> bytes:
        """Give the header frame of a message of its own."""
        self.sequence += 1
        return frame(encode_header(Header(VERSION, kind, message_id(self.client, self.sequence), **fields)), flags=MORE)  # type: ignore[arg-type]  # a test's own fields

    def hello(self) -> None:
        """Open a session."""
        self.socket.sendall(self.header(Kind.HELLO) + frame(encode_body(Hello(self.client, [VERSION], "wire", 0))))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.socket.close()
