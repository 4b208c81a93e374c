"""Values that processes hand in and the kernel shows: understood once, where they come in, so that nothing that reads them later can fail.

What a process sends may be any bytes. A kernel that found out when somebody lists processes, or when the next one reads the journal, would die of it each time.
"""

import msgspec

DEPTH_MOST = 72  # containers within containers: 64 of a variable, and what is put around it; far below what any decoder on the way to a client can follow
_SCALARS = frozenset({"NoneType", "bool", "int", "float", "str", "bytes", "datetime"})
_KEYS = (bool, int, float, str)


def flaw(raw: bytes, *, most: int) -> str:
    """Say why a msgpack value cannot be shown; "" when it can. ``most`` is its size in bytes."""
    if len(raw) > most:
        return f"it is {len(raw)} bytes long, at most {most} are kept"
    try:
        value = msgspec.msgpack.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return f"it cannot be decoded: {error}"
    level = [value]
    for _ in range(DEPTH_MOST):
        below: list[object] = []
        for each in level:
            if isinstance(each, list):
                below.extend(each)
            elif isinstance(each, dict):
                strange = next((key for key in each if not isinstance(key, _KEYS)), None)
                if strange is not None:
                    return f"a map has a key of type {type(strange).__name__}"
                below.extend(each.values())
            elif type(each).__name__ not in _SCALARS:
                return f"it holds a {type(each).__name__}"
        if not below:
            return ""
        level = below
    return f"it is nested deeper than {DEPTH_MOST}"
