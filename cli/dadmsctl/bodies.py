"""Bodies of messages as people write and read them.

Processes speak MessagePack. What a person writes is JSON where it reads as JSON, else a text, and travels as MessagePack; ``--raw`` and files travel as they are.
What comes is shown as JSON when it is one MessagePack value or a text, else as base64 or the number of its bytes.
"""

import base64
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from dadms_ipc.envelope import BODY_LIMIT


def written(text: str | None, file: Path | None, *, is_raw: bool) -> bytes:
    """Give the bytes of a body from the command line, from a file, or from stdin ("-")."""
    if file is not None:
        if text is not None:
            raise click.UsageError("a BODY and --file are two bodies: give one of them")
        return _contents(file)
    if text is None:
        return b""
    if is_raw:
        return text.encode("utf-8", "surrogateescape")
    try:
        return msgspec.msgpack.encode(msgspec.json.decode(text))
    except (msgspec.DecodeError, UnicodeEncodeError):
        return msgspec.msgpack.encode(text.encode("utf-8", "replace").decode())
    except OverflowError as error:
        raise click.UsageError(f"BODY is no message: {error}") from error


def _contents(file: Path) -> bytes:
    try:
        if str(file) == "-":
            body = sys.stdin.buffer.read(BODY_LIMIT + 1)
        else:
            with file.open("rb") as opened:
                body = opened.read(BODY_LIMIT + 1)
    except OSError as error:
        raise click.UsageError(f'cannot read "{file}": {error.strerror}') from error
    if len(body) > BODY_LIMIT:
        raise click.UsageError(f'cannot send "{file}": it is larger than {BODY_LIMIT} bytes')
    return body


def fields(body: bytes) -> dict[str, Any]:
    """Give what ``--json`` shows of a body: its value, its text, or its bytes."""
    try:
        value = msgspec.msgpack.decode(body)
        msgspec.json.encode(value)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError):
        try:
            return {"body": body.decode()}
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(body).decode()}
    return {"body": value}


def shown(body: bytes) -> str:
    """Show a body on one line."""
    found = fields(body) if body else {"body": None}
    if "body" in found:
        return found["body"] if isinstance(found["body"], str) else msgspec.json.encode(found["body"]).decode() if body else ""
    return f"({len(body)} bytes)"
