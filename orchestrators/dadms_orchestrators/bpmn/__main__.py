"""`python -m dadms_orchestrators.bpmn check MODEL [--json]`: whether a model can run, before anything is started.

Exit codes: 0 it can, 2 the command or the file cannot be read, 4 it is refused. Refusals go to standard error as `file:line: reason`; with `--json` one object goes to standard output.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import msgspec

from dadms_orchestrators.bpmn.checking import Checked, check, load_siblings
from dadms_orchestrators.bpmn.refusal import ModelRefused

DONE, USAGE, REFUSED = 0, 2, 4


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dadms_orchestrators.bpmn", description="Check BPMN models.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("check", help="say whether a model can run, and what it needs")
    command.add_argument("model", type=Path, metavar="MODEL", help="a .bpmn file; what it calls is looked for in its directory")
    command.add_argument("--process", metavar="ID", help="the process that is meant, where the file holds several")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _shown(checked: Checked) -> str:
    lines = [f'{checked.file}: process "{checked.process}" can run: {len(checked.tasks)} tasks']
    lines += [f"  topic {topic}" for topic in checked.topics]
    lines += [f"  decision {decision}" for decision in checked.decisions]
    lines += [f"  user task {task.id}: {', '.join(field.name for field in task.fields) or 'no fields'}" for task in checked.user_tasks]
    lines += [f"  calls {call.process} in {call.file}" for call in checked.calls]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        source = asked.model.read_bytes()
        siblings = load_siblings(asked.model)
    except OSError as error:
        sys.stderr.write(f'cannot read "{asked.model}": {error.strerror}\n')
        return USAGE
    try:
        checked = check(source, name=str(asked.model), siblings=siblings, process=asked.process)
    except ModelRefused as refused:
        if asked.json:
            sys.stdout.write(msgspec.json.encode({"refused": refused.findings}).decode() + "\n")
        else:
            sys.stderr.write(f"{refused}\n")
        return REFUSED
    if asked.json:
        sys.stdout.write(checked.to_json().decode() + "\n")
        return DONE
    sys.stdout.write(_shown(checked))
    sys.stderr.writelines(f"{warning} (warning)\n" for warning in checked.warnings)
    return DONE


def _speak_utf8() -> None:
    """Write UTF-8 whatever the locale says: names come from models, and who reads this is most often a program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


if __name__ == "__main__":
    _speak_utf8()
    sys.exit(main())
