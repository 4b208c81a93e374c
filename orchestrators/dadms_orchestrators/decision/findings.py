"""What ``validate`` says of a model: findings as data.

Rule 1: an ``error`` makes some decision wrong or null; a ``warning`` is what its author most likely did not mean.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dadms_orchestrators.decision.errors import Place


class Finding(msgspec.Struct, frozen=True):
    """One thing to look at."""

    kind: str  # syntax, cycle, name, type, overlap, gap, unreachable, empty, size
    severity: str  # error or warning
    reason: str
    place: Place
    rules: tuple[int, ...] = ()  # numbers of a table's rules, from 1

    def row(self) -> dict[str, Any]:
        """Return it as a row of a table."""
        return {
            "severity": self.severity,
            "kind": self.kind,
            "node": self.place.node,
            "line": self.place.line,
            "column": self.place.column,
            "rules": list(self.rules),
            "reason": self.reason,
        }

    def __str__(self) -> str:
        """Return it as a sentence."""
        return f"{self.severity}: {self.reason} ({self.place})"
