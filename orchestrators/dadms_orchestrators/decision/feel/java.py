"""Being written."""

from typing import Any


def java_function(compiler: Any, value: Any, names: list[str], types: Any, pos: int) -> Any:
    return None
