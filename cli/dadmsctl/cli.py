"""The commands by name, each loaded only when it is asked for; and what all of them share.

The table is the whole tree: a group's name maps to its commands, a command's to the place where it stands. Help reads every place, a command only its own:
that, and no import of what only a table needs, keeps the start under 150 ms.
"""

from importlib import import_module
from pathlib import Path

import click
from click.core import ParameterSource

from dadms_ipc import paths
from dadmsctl.door import Door
from dadmsctl.quantities import seconds

COMMANDS = {
    "run": "run:run",
    "decision": "decision:decision",
    "ps": "processes:ps",
    "status": "processes:status",
    "spawn": "spawning:spawn",
    "start": "control:start",
    "stop": "control:stop",
    "restart": "control:restart",
    "suspend": "control:suspend",
    "resume": "control:resume",
    "limits": "limiting:limits",
    "priority": "limiting:priority",
    "kill": "control:kill",
    "wait": "control:wait",
    "thread": "threads:thread",
    "context": "context:context",
    "explain": "past:explain",
    "history": "past:history",
    "send": "messages:send",
    "request": "messages:request",
    "broadcast": "messages:broadcast",
    "publish": "messages:publish",
    "subscribe": "messages:subscribe",
    "dlq": "dlq:dlq",
    "logs": "watching:logs",
    "events": "watching:events",
    "keys": "keys:keys",
    "config": "configuring:config",
    "reload": "configuring:reload",
    "shutdown": "daemon:shutdown",
}


class LazyGroup(click.Group):
    """A group whose commands stand in modules of ``dadmsctl.commands``."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Give the names in the table's order: what one does first stands first."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Load the one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(f"dadmsctl.commands.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command


def directory(text: str) -> Path:
    """Refuse no name at all, which would mean the current directory."""
    if not text:
        raise click.BadParameter("it is empty, and names no directory")
    return Path(text)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option(
    "--runtime-dir", type=directory, metavar="PATH", help="Where the daemon's sockets are. [$DADMS_RUNTIME_DIR, else the system's place]"
)
@click.option(
    "--host", metavar="HOST[:PORT]", envvar="DADMS_HOST", help="A daemon behind a network instead, at its kernel's port. [$DADMS_HOST]"
)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    envvar="DADMS_KEY",
    help="The key for it, from dadmsctl keys new. [$DADMS_KEY]",
)
@click.option("--timeout", type=seconds, default=5.0, show_default=True, help="Seconds that the daemon has to answer a request.")
@click.version_option(package_name="dadms", message="dadmsctl %(version)s")
@click.pass_context
def cli(ctx: click.Context, runtime_dir: Path | None, host: str | None, key: Path | None, timeout: float) -> None:
    """Run decision processes, and look after the daemon that runs them.

    Exit codes: 0 done, 1 the work failed, 2 usage, 3 no daemon, 4 refused, 5 timed out.
    """
    if runtime_dir is not None and ctx.get_parameter_source("host") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--runtime-dir is a daemon of this machine, --host one behind a network: one of them", ctx)
    place = None if runtime_dir is not None else host  # what was typed wins over the environment
    ctx.obj = Door((runtime_dir or paths.runtime_dir()).absolute(), timeout, place, key)
