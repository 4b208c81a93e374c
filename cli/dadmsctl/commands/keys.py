"""The keys of those who come over a network: files beside the daemon, which it watches. No daemon need run for this."""

import os
import sys
import time
from pathlib import Path

import click

from dadms_ipc import keys as keyfiles
from dadms_ipc import paths
from dadms_ipc.errors import RequestRefused
from dadmsctl.options import as_json
from dadmsctl.terminal import printable, write_json

NOBODY = 65534  # the user without rights, on every Linux

state_dir = click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Where the daemon keeps its keys. [$DADMS_STATE_DIR, else the system's place]",
)

LS_COLUMNS = ("NAME", "ROLE", ">UID", "MADE", "PUBLIC HALF")
LS_IMPORTANCE = ("NAME", "ROLE", "UID", "PUBLIC HALF", "MADE")


@click.group()
def keys() -> None:
    """Say who may come over the network, each with a key and a role."""


@keys.command("new")
@click.argument("name")
@click.option("--role", type=click.Choice(keyfiles.ROLES), default="operate", show_default=True, help="What it may do.")
@click.option(
    "--user",
    metavar="USER",
    help="Whose processes it starts and owns, by name or uid. [the daemon's user; below a daemon of root nobody, unless it is an admin]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help='Where the key is written, with its secret, once; "-" is standard output. [NAME.key]',
)
@state_dir
def new(name: str, role: str, user: str | None, out: Path | None, state_dir: Path | None) -> None:
    """Make a key, let it in, and write it to a file for whoever shall have it."""
    known = _list(state_dir)
    keyfiles.check_name(name)
    if name in known.entries()[0]:
        raise RequestRefused(f'cannot make the key "{name}": there is one of this name; dadmsctl keys revoke {name} ends it')
    from dadms_ipc.sockets import new_pair  # brings pyzmq, which listing and revoking do without

    known.prepare()
    server = known.server_pair() or known.make_server_pair(new_pair())
    pair = new_pair()
    key = keyfiles.Key(name, server.public, pair.public, pair.secret)
    entry = keyfiles.entry_of(pair.public, role, _uid(user, role))
    path = out or Path(f"{name}.key")
    if str(path) != "-":  # before it is let in: a key that nobody has lets nobody in
        keyfiles.write_key(path, key)
    try:
        known.add(name, entry)
    except RequestRefused:
        if str(path) != "-":
            path.unlink()
        raise
    if str(path) == "-":
        sys.stdout.write(keyfiles.key_text(key))
    else:
        click.echo(f'{path} holds the key "{name}" ({role}) and is the only place where its secret is')


@keys.command("ls")
@as_json
@state_dir
def ls(as_json: bool, state_dir: Path | None) -> None:
    """List the keys that are let in."""
    entries, mistakes = _list(state_dir).entries()
    for mistake in mistakes:
        click.echo(f"dadmsctl: warning: {printable(mistake)}", err=True)
    if as_json:
        write_json(
            [
                {"name": name, "role": one.role, "uid": one.uid, "created_at": one.created, "public": one.public}
                for name, one in entries.items()
            ]
        )
        return
    from dadmsctl.listing import show

    show(
        LS_COLUMNS,
        LS_IMPORTANCE,
        (
            (name, one.role, str(one.uid), time.strftime("%Y-%m-%d %H:%M", time.localtime(one.created)), one.public)
            for name, one in entries.items()
        ),
    )


@keys.command("revoke")
@click.argument("name")
@state_dir
def revoke(name: str, state_dir: Path | None) -> None:
    """Let a key in no more; a daemon that runs cuts what it has open at once."""
    _list(state_dir).remove(name)
    click.echo(f'the key "{name}" is revoked')


def _list(directory: Path | None) -> keyfiles.KeyList:
    place = (directory or paths.state_dir()).absolute()
    if not place.is_dir():
        raise RequestRefused(
            f'cannot look after keys: there is no state directory "{place}" yet; dadmsd makes it, --state-dir names another'
        )
    owner = place.stat().st_uid
    if owner != os.geteuid():  # what root made there, the daemon could not read
        raise RequestRefused(
            f'cannot look after keys: the state directory "{place}" belongs to uid {owner}, and this is uid {os.geteuid()}'
        )
    return keyfiles.KeyList(place)


def _uid(user: str | None, role: str) -> int:
    owner = os.geteuid()  # the daemon's user, too
    if user is None:
        return owner if owner != 0 or role == "admin" else NOBODY
    import pwd

    try:
        uid = int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError) as error:
        raise RequestRefused(f'cannot make a key for the user "{user}": there is no such user') from error
    if owner not in (0, uid):
        raise RequestRefused(f"cannot make a key for uid {uid}: the daemon belongs to uid {owner} and cannot start processes as another")
    return uid
