"""The built-in functions of FEEL, by name; DMN 1.5, 10.3.4.

Rule 1: what a function takes is data (``registry.py``); a function body sees arguments of the right types only.
Rule 2: each family stands in a module of its own, which fills the one table.
"""

from dadms_orchestrators.decision.feel.builtins import (  # noqa: F401 - imported so that they fill the table
    contexts,
    conversion,
    lists,
    numbers,
    ranges,
    strings,
    temporal,
)
from dadms_orchestrators.decision.feel.builtins.registry import TABLE, Builtin, find

__all__ = ["TABLE", "Builtin", "find"]
