"""What this package refuses, and how it says so.

Rule 1: a refusal names the file, the line where there is one, the element where there is one, and a reason that a modeller understands.
Rule 2: a model is refused with everything that was found, not only with the first.
Rule 3: a refused call changed nothing.
"""

from __future__ import annotations

import msgspec

MAX_SHOWN = 50  # findings in the text of a refusal; a file that is wrong all over is as clear after fifty


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong with a model."""

    file: str
    line: int | None
    element: str | None
    reason: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.reason}"


class ModelRefused(Exception):
    """The model cannot run; `findings` are all the reasons, in the order of the file."""

    def __init__(self, findings: list[Finding] | tuple[Finding, ...]) -> None:
        assert findings, "a refusal has a reason"
        self.findings = tuple(sorted(findings, key=lambda finding: (finding.file, finding.line or 0)))
        shown = [str(finding) for finding in self.findings[:MAX_SHOWN]]
        if len(self.findings) > MAX_SHOWN:
            shown.append(f"and {len(self.findings) - MAX_SHOWN} more")
        super().__init__("\n".join(shown))

    @property
    def file(self) -> str:
        """File of the first finding."""
        return self.findings[0].file

    @property
    def line(self) -> int | None:
        """Line of the first finding, counted from 1."""
        return self.findings[0].line

    @property
    def element(self) -> str | None:
        """Element id of the first finding."""
        return self.findings[0].element

    @property
    def reason(self) -> str:
        """Reason of the first finding."""
        return self.findings[0].reason


class RunRefused(Exception):
    """The caller asked a run for something that it cannot do; the run is as it was."""
