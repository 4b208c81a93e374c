"""What is shown of a body that came: a value, a text, or bytes."""

import msgspec
import pytest

from dadmsctl import bodies


@pytest.mark.parametrize(
    ("body", "fields", "line"),
    [
        (msgspec.msgpack.encode({"a": 1}), {"body": {"a": 1}}, '{"a":1}'),
        (b"HELLO", {"body": "HELLO"}, "HELLO"),
        ("Grüße".encode(), {"body": "Grüße"}, "Grüße"),
        (b"\xff\xfe\x00", {"base64": "//4A"}, "(3 bytes)"),
    ],
    ids=["value", "text", "words", "bytes"],
)
def test_base64_is_for_what_is_neither_a_value_nor_a_text(body: bytes, fields: dict[str, object], line: str) -> None:
    assert (bodies.fields(body), bodies.shown(body)) == (fields, line)
