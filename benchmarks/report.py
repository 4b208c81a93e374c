"""How a benchmark tells what it measured: a table for people, one JSON object for programs, and the machine in both.

Figures have fixed names and no units beside them: the unit is in the name. What was not measured in this run is absent, never zero.
"""

import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

WHOLE_MACHINE = Path(__file__).with_name("whole_machine.toml")


class Row(NamedTuple):
    """One line of the table."""

    what: str
    values: Sequence[float]  # of the repeats; their median is shown, and the range beside it
    unit: str = "s"
    note: str = ""


def machine() -> dict[str, Any]:
    """Say on what the figures were measured; ratios travel between machines, seconds do not."""
    with open("/proc/meminfo", encoding="ascii") as meminfo:  # noqa: PTH123 -- a file of /proc
        total = int(meminfo.readline().split()[1])
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(total / 2**20, 1),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load_1_minute": round(os.getloadavg()[0], 2),  # of this moment: above the number of CPUs, others were measured too
    }


def report(subject: str, figures: dict[str, float], rows: Iterable[Row], *, as_json: bool, about: str, on: dict[str, Any]) -> None:
    """Print the figures of one run; ``on`` is the machine as it was before the run."""
    if as_json:
        sys.stdout.write(json.dumps({"subject": subject, "machine": on, "figures": figures}) + "\n")
        return
    table = Table(title=f"{subject}: {about}", title_justify="left", caption=_caption(on), caption_justify="left")
    table.add_column("")
    table.add_column("median", justify="right")
    table.add_column("range", justify="right")
    table.add_column("")
    for row in rows:
        values = sorted(row.values)
        spread = f"{values[0]:.3g} - {values[-1]:.3g}" if len(values) > 1 else ""
        table.add_row(row.what, f"{statistics.median(values):.3g} {row.unit}", spread, row.note)
    console = Console()
    console.print(table)
    for name, value in figures.items():
        console.print(f"  {name} = {value:.4g}", highlight=False)


def _caption(on: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in on.items())
