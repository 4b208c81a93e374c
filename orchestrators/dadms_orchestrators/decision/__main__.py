"""`python -m dadms_orchestrators.decision check MODEL [--json]`: whether a model loads, what it asks for, and what is wrong with it.

Exit codes: 0 nothing was found, or warnings only; 1 a finding is an error; 2 the command or the file cannot be read; 4 the model does not load.
Findings go to standard output as `file:line: node: reason (rules …)`, refusals to standard error; with `--json` one object goes to standard output.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import msgspec

from dadms_orchestrators.decision.checking import Checked, Refused, check

DONE, FOUND, USAGE, REFUSED = 0, 1, 2, 4


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dadms_orchestrators.decision", description="Check DMN and JDM models.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("check", help="say whether a model loads, what it asks for, and what is wrong with it")
    command.add_argument("model", type=Path, metavar="MODEL", help="a .dmn or .json file; what it imports is looked for in its directory")
    command.add_argument("--import", type=Path, action="append", default=[], dest="others", metavar="FILE", help="a model that it imports")
    command.add_argument("--load-only", action="store_true", help="look for no findings: large tables take a while")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _shown(checked: Checked) -> str:
    lines = [str(finding) for finding in checked.findings]
    return "".join(f"{line}\n" for line in lines or [f"{checked.file}: nothing was found"])


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        checked = check(asked.model, asked.others, validates=not asked.load_only)
    except OSError as error:
        sys.stderr.write(f'cannot read "{asked.model}": {error.strerror}\n')
        return USAGE
    except Refused as refused:
        if asked.json:
            sys.stdout.write(msgspec.json.encode({"refused": refused.told}).decode() + "\n")
        else:
            sys.stderr.write(f"{refused}\n")
        return REFUSED
    sys.stdout.write(msgspec.json.encode(checked).decode() + "\n" if asked.json else _shown(checked))
    return FOUND if any(finding.severity == "error" for finding in checked.findings) else DONE


def _speak_utf8() -> None:
    """Write UTF-8 whatever the locale says: names come from models, and who reads this is most often a program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


if __name__ == "__main__":
    _speak_utf8()
    sys.exit(main())
