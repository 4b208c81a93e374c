"""What is wrong with a specification by itself, whoever asks and whatever there is room for: said in sentences, before anything is done."""

import difflib
from collections.abc import Iterator

from dadms_ipc.requests import Spec
from dadmsd.kernel.core import bounds
from dadmsd.kernel.core.restarts import ESCALATIONS, POLICIES

READINESS = ("none", "notify", "exec")
GROUP = "group:"  # what a group begins with where processes are named, on a command line
NAMES_MOST = 100  # that one process may depend on
KINDS = ("orchestrator", "service", "tool")
ARGUMENTS_MOST = 128 * 1024  # bytes of a command: what Linux takes in one argument
CODES_MOST = 256
_COMMAND_ONLY: dict[str, object] = {
    "command": [],
    "umask": 0o022,
    "no_new_privileges": False,
    "gid": None,
    "stop_signal": 15,
    "ready": "",
    "ready_command": [],
    "live_command": [],
}


def flaw_of(spec: Spec) -> str:
    """Say why no host could start this; "" when nothing is wrong with it."""
    return next((sentence for _, sentence in flaws(spec)), "")


def flaws(spec: Spec) -> Iterator[tuple[str, str]]:
    """Give everything that is wrong with a specification, each with the field that it is about; of texts that cannot be told, nothing else."""
    if untold := list(bounds.text_flaws(spec)):
        yield from untold
        return
    if spec.name.isdecimal():
        yield "name", "a name of digits alone would be taken for a pid"
    elif spec.name.startswith(GROUP):
        yield "name", f'a name that begins with "{GROUP}" would be taken for a group'
    for name, value, known in (
        ("kind", spec.kind, KINDS),
        ("restart", spec.restart, ("", *POLICIES)),
        ("escalate", spec.escalate, ESCALATIONS),
        ("ready", spec.ready, ("", *READINESS)),
    ):
        if value not in known:
            yield name, _unknown(name, value, [each for each in known if each])
    yield from _command_flaws(spec) if spec.kind != "orchestrator" else _orchestrator_flaws(spec)
    yield from _place_flaws(spec)
    yield from bounds.number_flaws(spec)
    yield from _list_flaws(spec)


def _unknown(name: str, value: str, known: list[str]) -> str:
    near = difflib.get_close_matches(value, known, 1)
    return f"no {name} {value!r}; " + (f'did you mean "{near[0]}"?' if near else f"there are {', '.join(known)}")


def _orchestrator_flaws(spec: Spec) -> Iterator[tuple[str, str]]:
    for name, default in _COMMAND_ONLY.items():
        if getattr(spec, name) != default:
            yield name, f"{name} is for a service or a tool, and this is an orchestrator"


def _place_flaws(spec: Spec) -> Iterator[tuple[str, str]]:
    if spec.directory is not None and not spec.directory.startswith("/"):
        yield "directory", f'its directory "{spec.directory}" is no absolute path'
    if any(not name or "=" in name for name in spec.environment):
        yield "environment", "a name in its environment is empty or has a = in it"


def _command_flaws(spec: Spec) -> Iterator[tuple[str, str]]:
    if not spec.command or not spec.command[0]:
        yield "command", f"a {spec.kind} needs a command"
    if spec.orchestrator or spec.handlers:
        yield "orchestrator" if spec.orchestrator else "handlers", f"a {spec.kind} runs a command, and no orchestrator"
    if (spec.ready == "exec") != bool(spec.ready_command):
        yield "ready" if spec.ready == "exec" else "ready_command", 'ready = "exec" needs a ready_command, and nothing else does'
    size = sum(len(word.encode()) for word in spec.command)
    if size > ARGUMENTS_MOST:
        yield "command", f"its command has {size} bytes, at most {ARGUMENTS_MOST} are possible"


def _list_flaws(spec: Spec) -> Iterator[tuple[str, str]]:
    if len(spec.after) + len(spec.requires) > NAMES_MOST:
        yield "requires", f"it depends on {len(spec.after) + len(spec.requires)} names, at most {NAMES_MOST} are possible"
    for name in ("success_codes", "restart_codes", "final_codes"):
        codes = getattr(spec, name)
        wrong = next((code for code in codes if not 0 <= code <= 255), None)
        if wrong is not None:
            yield name, f"{name} has {wrong}, an exit code is from 0 to 255"
        elif len(codes) > CODES_MOST:
            yield name, f"{name} has more than {CODES_MOST} codes"
    if both := set(spec.restart_codes) & set(spec.final_codes):
        yield "final_codes", f"exit code {min(both)} is in restart_codes and in final_codes"
