"""Options that say how a process is run and looked after: their names are those of ``dadms_ipc.requests.Spec``, and what is not given keeps the kernel's default.

Whatever a definition or a program can ask for, ``spawn`` can: what is no option here is one of options.py.
"""

import grp
import pwd
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from dadmsctl.quantities import LARGEST, seconds

Command = TypeVar("Command", bound=Callable[..., Any])
CODE = click.IntRange(0, 255)
PART = click.FloatRange(0.0, 1.0)


def user(text: str) -> int:
    """Read a user, by name or number."""
    try:
        return int(text) if text.isdecimal() else pwd.getpwnam(text).pw_uid
    except KeyError:
        raise click.BadParameter(f'there is no user "{text}"') from None


def user_group(text: str) -> int:
    """Read a group of users, by name or number."""
    try:
        return int(text) if text.isdecimal() else grp.getgrnam(text).gr_gid
    except KeyError:
        raise click.BadParameter(f'there is no group "{text}"') from None


def signal_number(text: str) -> int:
    """Read a signal: ``TERM``, ``SIGTERM`` or ``15``."""
    if text.isdecimal():
        return int(text)
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    try:
        return int(signal.Signals[name])
    except KeyError:
        raise click.BadParameter(f'there is no signal "{text}"') from None


def octal(text: str) -> int:
    """Read a file mode mask: ``022``."""
    try:
        return int(text, 8)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no mask of modes: write it in octal, such as 027") from None


def words(text: str) -> list[str]:
    """Read a command as a shell would split it; nothing else of a shell is done."""
    try:
        found = shlex.split(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}") from None
    if not found:
        raise click.BadParameter("it is empty")
    return found


def at_least_zero(text: str) -> float:
    """Read seconds, 0 included."""
    return 0.0 if text.strip() in ("0", "0.0") else seconds(text)


OPTIONS = (
    click.option("--service", "is_service", is_flag=True, help="COMMAND is to run: it is started again whenever it ends."),
    click.option("--group", help="A name for several processes: stop group:NAME."),
    click.option("--directory", type=click.Path(path_type=Path), help="Where COMMAND works. [a directory of its own]"),
    click.option("--user", "uid", type=user, help="Whom COMMAND runs as; root alone may name another. [you]"),
    click.option("--gid", type=user_group, help="The group of users that COMMAND runs with. [the user's]"),
    click.option("--umask", type=octal, help="In octal. [022]"),
    click.option("--nice", type=click.IntRange(-20, 19), help="Niceness of COMMAND; below 0 for root alone. [0]"),
    click.option("--no-new-privileges", is_flag=True, default=None, help="No program gives COMMAND more rights than it has."),
    click.option("--stop-signal", type=signal_number, help="What asks COMMAND to end. [TERM]"),
    click.option("--stop-timeout", type=seconds, help="Seconds from that to SIGKILL. [5]"),
    click.option("--parent", type=click.IntRange(1, LARGEST), help="The process that it belongs to. [the one that asks]"),
    click.option(
        "--restart", type=click.Choice(["never", "on-failure", "always"]), help="When it is started again. [never; a service: always]"
    ),
    click.option("--success-code", "success_codes", type=CODE, multiple=True, help="An exit code that is no failure. [0]"),
    click.option("--restart-code", "restart_codes", type=CODE, multiple=True, help="An exit code after which it is always started again."),
    click.option("--final-code", "final_codes", type=CODE, multiple=True, help="An exit code after which it never is."),
    click.option("--backoff", type=seconds, help="Seconds before the first restart, doubled with each further one. [0.2]"),
    click.option("--backoff-most", type=seconds, help="The longest pause. [30]"),
    click.option("--backoff-jitter", type=PART, metavar="PART", help="What chance adds to a pause, at most: 0.5 is half of it. [0.1]"),
    click.option("--backoff-reset", type=at_least_zero, help="Seconds of being ready after which the pause is the first one again. [10]"),
    click.option("--start-limit", type=click.IntRange(0, 1000), help="Starts within --start-limit-seconds that are enough; 0: never. [10]"),
    click.option("--start-limit-seconds", type=seconds, help="[300]"),
    click.option("--ready", type=click.Choice(["none", "notify", "exec"]), help="What says that COMMAND is ready. [none: that it runs]"),
    click.option("--ready-command", type=words, help="What exits with 0 once it is; means --ready exec."),
    click.option("--ready-interval", type=seconds, help="Seconds between its runs. [0.5]"),
    click.option("--live-command", type=words, help="What exits with 0 as long as COMMAND is well."),
    click.option("--live-interval", type=seconds, help="Seconds between its runs. [10]"),
    click.option("--live-threshold", type=click.IntRange(1, 1000), help="Failures of it in a row that end COMMAND. [3]"),
    click.option("--probe-timeout", type=seconds, help="Seconds that either may take. [5]"),
    click.option("--watchdog", type=seconds, help="Seconds within which it must say WATCHDOG=1."),
    click.option(
        "--run-timeout", type=at_least_zero, help="Seconds that it may run; 0: for ever. [a tool: process_timeout_ms of the configuration]"
    ),
    click.option("--max-age", type=seconds, help="Seconds after which it is replaced by its next incarnation."),
    click.option("--max-age-jitter", type=PART, metavar="PART", help="What chance adds to that, at most. [0.1]"),
    click.option("--after", multiple=True, metavar="NAME", help="Start when the process of this name is ready, if there is one."),
    click.option("--requires", multiple=True, metavar="NAME", help="Start when the process of this name is ready, and end before it."),
    click.option("--escalate", type=click.Choice(["group", "parent", "daemon"]), help="What fails with it at the start limit."),
    click.option("--weight", type=click.FloatRange(0.01, 1_000_000), help="Its share of the slots, where the policy is fair. [1]"),
    click.option("--recycle-threads", type=click.IntRange(1, LARGEST), help="Threads after which a worker of it is replaced. [none]"),
    click.option("--recycle-seconds", type=seconds, help="Age at which a worker of it is. [none]"),
)


def supervision(command: Command) -> Command:
    """Add the options."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def fields_of(given: dict[str, Any], *, is_command: bool) -> dict[str, Any]:
    """Give the fields of a Spec that were asked for."""
    names = [name for option in OPTIONS for name in _names(option)]
    fields = {name: _plain(given[name]) for name in names if given[name] not in (None, ()) and name not in ("is_service", "directory")}
    if given["is_service"] and not is_command:
        raise click.UsageError("--service needs a command behind --")
    _match_ready(fields)
    if is_command:
        fields["kind"] = "service" if given["is_service"] else "tool"
    if given["directory"] is not None:
        fields["directory"] = str(given["directory"].absolute())
    return fields


def _match_ready(fields: dict[str, Any]) -> None:
    """Take a ready command for what says that a process is ready, which is what it is for."""
    if "ready_command" in fields and fields.setdefault("ready", "exec") != "exec":
        raise click.UsageError(f"--ready-command is for --ready exec, and this is --ready {fields['ready']}")
    if fields.get("ready") == "exec" and "ready_command" not in fields:
        raise click.UsageError("--ready exec needs --ready-command, which says what exits with 0 once COMMAND is ready")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _names(option: Callable[..., Any]) -> list[str]:
    """Give the parameter that an option decorator makes."""
    holder = option(lambda: None)
    return [parameter.name for parameter in holder.__click_params__]
