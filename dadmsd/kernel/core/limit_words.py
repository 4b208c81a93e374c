"""Limits as they are shown: in a line for people, and what will hold of a process that has no main now, in words and as numbers."""

from collections.abc import Mapping
from typing import Any

from dadms_ipc.requests import IoLimit, Limits, Spec
from dadmsd.kernel.core.ledger import cores_text, size_text

SIZES = frozenset({"memory", "worker_memory", "core", "memory_high", "swap"})  # bytes


def brief(held: dict[str, str]) -> str:
    """Say limits in a line: whoever wants to know who holds each asks for the limits of the process."""
    return ", ".join(f"{name} {text.partition(', ')[0].partition(' by ')[0]}" for name, text in held.items())


def promised(spec: Spec) -> tuple[dict[str, str], dict[str, Any]]:
    """Say what a process that has no main now is held to when it starts, and the same as numbers."""
    texts, values = {}, {}
    for name in Limits.__struct_fields__:
        value = getattr(spec.limits, name)
        if value is None or value == {} or name == "workers":  # how many workers there are is no cap that the host holds
            continue
        text = (
            size_text(value) if name in SIZES else cores_text(value) if name == "cpu" else ", ".join(value) if name == "io" else str(value)
        )
        texts[name] = f"{text} from its next start on"
        values[name] = _rates(value) if name == "io" else value
    if spec.nice:
        texts["nice"], values["nice"] = f"{spec.nice} from its next start on", spec.nice
    return texts, values


def _rates(asked: Mapping[str, IoLimit]) -> dict[str, dict[str, int]]:
    """Give rates by device, without those that are not limited."""
    return {
        device: {rate: number for rate in IoLimit.__struct_fields__ if (number := getattr(limit, rate)) is not None}
        for device, limit in asked.items()
    }
