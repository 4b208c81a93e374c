"""A directory of definitions as a whole, without a daemon: every mistake of every file, and what the files ask of each other.

1. Names that are required and that no enabled definition has, and circles, are mistakes: a daemon that starts has nobody else. Each is told where it is written, for each definition that it keeps from its start.
2. A name that is only waited for (``after``) may be nobody's; where it is nearly somebody's, that is a warning.
3. What a file with a mistake defines is not missing: that file is told already.
"""

import difflib
import tomllib
from pathlib import Path

import msgspec

from dadms_ipc.errors import RequestRefused
from dadmsd import config, definitions
from dadmsd.kernel.core.defined import Definition, place, place_of
from dadmsd.kernel.core.dependencies import circle

TOP = {"process", "command", "orchestrator"}  # keys at the top of a file that make it one of definitions, and not a configuration


class Checked(msgspec.Struct, frozen=True):
    """What a directory comes to, or one file of it."""

    names: list[dict[str, object]]  # "name", "file", "enabled"
    mistakes: list[str]  # a sentence each, with file and line
    warnings: list[str]


def is_definition(path: Path) -> bool:
    """Tell whether a file defines processes; one that cannot be read does when it lies among definitions."""
    try:
        return bool(TOP & tomllib.loads(config.read(path)).keys())
    except (RequestRefused, ValueError, RecursionError):
        return path.parent.name == Path(config.ProcessKernel().definitions).name


def check(path: Path) -> Checked:
    """Check a directory, or one file with what lies beside it, of which only what is said of that file counts."""
    directory = path if path.is_dir() else path.parent
    reading = definitions.gather(directory)
    mistakes, warnings = list(reading.mistakes), []
    enabled = {each.name: each for each in reading.definitions if each.is_enabled}
    disabled = {each.name: each for each in reading.definitions if not each.is_enabled}
    edges = {name: [*each.spec.requires, *each.spec.after] for name, each in enabled.items()}
    spoilt = {name for file in reading.bad_files for name in (Path(file).stem, *definitions.names_in(directory / file))}
    for each in enabled.values():
        mistakes += [f'{place_of(each, field)}: "{each.name}": {why}' for field, why in each.lacks.items()]
        if way := circle(each.spec, edges):
            mistakes.append(f'{place(each, way[1])}: "{each.name}": its dependencies go in a circle: {" → ".join(way)}')
        for name in each.spec.requires:
            if name not in enabled and (name not in spoilt or name in disabled):
                mistakes.append(f'{place(each, name)}: "{each.name}" requires "{name}", {_absence(name, disabled, [*enabled, *spoilt])}')
        for name in each.spec.after:
            if name not in enabled and name not in spoilt and (near := difflib.get_close_matches(name, enabled, 1)):
                warnings.append(
                    f'{place(each, name)}: "{each.name}" starts after "{name}", which nothing here defines; did you mean "{near[0]}"?'
                )
    mistakes.sort(key=lambda each: each.partition(":")[0])  # what is said of a file stands together
    counted = [each for each in reading.definitions if each.file not in reading.bad_files]
    names: list[dict[str, object]] = [{"name": each.name, "file": each.file, "enabled": each.is_enabled} for each in counted]
    if directory == path:
        return Checked(names, mistakes, warnings)
    head = f"{path.name}:"
    return Checked(
        [each for each in names if each["file"] == path.name],
        [each for each in mistakes if each.startswith(head)],
        [each for each in warnings if each.startswith(head)],
    )


def _absence(name: str, disabled: dict[str, Definition], known: list[str]) -> str:
    if name in disabled:
        return f"which is not enabled ({disabled[name].file})"
    near = difflib.get_close_matches(name, known, 1)
    return "which nothing here defines" + (f'; did you mean "{near[0]}"?' if near else "")
