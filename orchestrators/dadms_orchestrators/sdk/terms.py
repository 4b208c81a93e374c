"""What a submission says of its threads besides their arguments, looked at where it is said: what cannot travel would otherwise end its process, or hold up all that follows.

It is looked at by encoding and decoding it as the kernel would, so the types of the message are the only rule.
"""

import re
from typing import Any

import msgspec

from dadms_ipc import port
from dadms_ipc.errors import RequestRefused

_decode = msgspec.msgpack.Decoder(port.Submit).decode
_PLACE = re.compile(r" - at `\$[^`]*`")  # in the message's array: the term is named instead
_UNFIT = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)  # a lone surrogate is a ValueError
_NOTHING = msgspec.Raw(b"\x90")


def check(what: str, **terms: Any) -> None:
    """Raise RequestRefused, naming the term, unless all of them can travel. Terms are fields of ``port.Submit``; ``what`` is what cannot be done otherwise."""
    try:
        _pass(terms)
    except _UNFIT:
        for name, value in terms.items():
            try:
                _pass({name: value})
            except _UNFIT as error:
                words = _PLACE.sub("", str(error))
                raise RequestRefused(f"cannot {what}: {name} = {value!r:.100}: {words}") from error
        raise


def _pass(terms: dict[str, Any]) -> None:
    _decode(msgspec.msgpack.encode(port.PackedSubmit(0, "", _NOTHING, **terms)))
