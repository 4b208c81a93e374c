"""The roles of users and groups, from their names in the configuration to their numbers.

Names are looked up when the daemon starts, where a wrong one is refused, and when a bus starts: a bus never waits for a directory service while it serves.
``"alice"`` and ``"1000"`` are users, ``"@staff"`` and ``"@50"`` are groups.
"""

import grp
import pwd
from typing import NamedTuple

from dadms_ipc.errors import RequestRefused
from dadmsd import config
from dadmsd.bus.core.offers import Offerers, flaw_of

ID_MOST = 2**32 - 2  # of users and groups; the number above it means none
KEY = "key:"  # what the name of a key begins with, where users and groups may be named as well


class Roles(NamedTuple):
    """Roles by number, and what could not be looked up."""

    users: dict[int, str]
    groups: dict[int, str]
    mistakes: list[str]
    services: dict[str, Offerers]  # name -> who may offer it


def resolve(settings: config.Config, uid: int) -> Roles:
    """Look up who has which role; root and the user of the daemon are always admins."""
    roles = Roles({}, {}, [], {})
    ranks = (
        ("observe", settings.access.observe),
        ("operate", settings.access.operate),
        ("admin", settings.access.admin),
    )  # the strongest is written last
    for role, names in ranks:
        for name in names:
            is_group = name.startswith("@")
            number = _number(name.removeprefix("@"), is_group=is_group)
            if number is None:
                roles.mistakes.append(f'[access] {role} names "{name}": there is no such {"group" if is_group else "user"}')
            else:
                (roles.groups if is_group else roles.users)[number] = role
    roles.users.update({0: "admin", uid: "admin"})
    services = {name: _offerers(name, names, roles.mistakes) for name, names in settings.access.services.items()}
    return roles._replace(services=services)


def _offerers(service: str, names: list[str], mistakes: list[str]) -> Offerers:
    if flaw := flaw_of(service):
        mistakes.append(f'[access] services names "{service}": {flaw}')
    numbers: dict[bool, set[int]] = {False: set(), True: set()}
    for name in (one for one in names if not one.startswith(KEY)):
        is_group = name.startswith("@")
        number = _number(name.removeprefix("@"), is_group=is_group)
        if number is None:
            mistakes.append(f'[access] services gives "{service}" to "{name}": there is no such {"group" if is_group else "user"}')
        else:
            numbers[is_group].add(number)
    keys = frozenset(name.removeprefix(KEY) for name in names if name.startswith(KEY))
    return Offerers(frozenset(numbers[False]), frozenset(numbers[True]), keys)


def check(settings: config.Config, name: str) -> None:
    """Raise RequestRefused for roles of users and groups that do not exist; ``name`` is what the error calls the file."""
    if mistakes := resolve(settings, 0).mistakes:
        raise RequestRefused(f'cannot use the configuration "{name}": {"; ".join(mistakes)}')


def _number(name: str, *, is_group: bool) -> int | None:
    if name.isdecimal() and len(name) <= 10:
        return int(name) if int(name) <= ID_MOST else None
    try:
        return grp.getgrnam(name).gr_gid if is_group else pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        return None
