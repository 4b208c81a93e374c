"""Roles by name, and what is said of a name that nobody has."""

import grp
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from dadms_ipc.errors import RequestRefused
from dadmsd import config, roles
from dadmsd.bus.core.offers import Offerers


def test_root_and_the_daemons_user_are_admins_whatever_is_written() -> None:
    """A mistake in the file locks nobody out."""
    found = roles.resolve(config.parse('[access]\nobserve = ["0", "1000"]\noperate = ["1001"]', "x"), 1000)
    assert found == ({0: "admin", 1000: "admin", 1001: "operate"}, {}, [], {})


def test_names_and_numbers_of_users_and_groups_are_understood() -> None:
    """The strongest role of each counts."""
    user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(os.getegid())
    text = f'[access]\nobserve = ["@{group.gr_name}", "5", "@50"]\noperate = ["@50", "{user.pw_name}"]\nadmin = ["5"]'
    found = roles.resolve(config.parse(text, "x"), 4)
    assert found.groups == {group.gr_gid: "observe", 50: "operate"}
    assert found.users == {0: "admin", 4: "admin", 5: "admin"} | {user.pw_uid: "admin" if user.pw_uid == 0 else "operate"}


def test_a_name_that_nobody_has_is_refused_at_start(tmp_path: Path) -> None:
    """All of them in one reading."""
    settings = config.parse('[access]\nobserve = ["nobody-of-this-name"]\nadmin = ["@no-such-group", "", "@"]', "x.toml")
    with pytest.raises(RequestRefused) as caught:
        roles.check(settings, "x.toml")
    assert str(caught.value) == (
        'cannot use the configuration "x.toml": [access] observe names "nobody-of-this-name": there is no such user; '
        '[access] admin names "@no-such-group": there is no such group; [access] admin names "": there is no such user; '
        '[access] admin names "@": there is no such group'
    )
    path = tmp_path / "dadms.toml"
    path.write_text('[access]\nobserve = ["nobody-of-this-name"]\n')
    done = subprocess.run([sys.executable, "-m", "dadmsd", "--config", str(path)], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "there is no such user" in done.stderr


def test_numbers_that_no_user_can_have_are_nobodys() -> None:
    access = config.Access(observe=["99999999999999999999", "4294967295", "4294967294"])
    assert roles.resolve(config.Config(access=access), 1000).mistakes == [
        f'[access] observe names "{name}": there is no such user' for name in ("99999999999999999999", "4294967295")
    ]


@pytest.mark.parametrize("mode", ["666", "0999", "0o660", "06660"])
def test_a_socket_mode_is_four_octal_digits(mode: str) -> None:
    with pytest.raises(RequestRefused, match="line 2"):
        config.parse(f'[access]\nsocket_mode = "{mode}"', "x.toml")


def test_services_are_given_to_users_groups_and_keys() -> None:
    user, group = pwd.getpwuid(os.getuid()), grp.getgrgid(os.getgid())
    text = f'[access]\nservices = {{ prices = ["{user.pw_name}", "7", "@{group.gr_name}", "key:laptop"], none = [] }}'
    found = roles.resolve(config.parse(text, "x"), 0).services
    assert found == {
        "prices": Offerers(frozenset({user.pw_uid, 7}), frozenset({group.gr_gid}), frozenset({"laptop"})),
        "none": Offerers(),
    }


def test_a_service_that_cannot_be_is_a_mistake() -> None:
    settings = config.parse('[access.services]\nkernel = []\n"1001" = []\nprices = ["nobody-of-this-name"]', "x.toml")
    assert roles.resolve(settings, 0).mistakes == [
        '[access] services names "kernel": it is the daemon\'s own',
        '[access] services names "1001": a name is letters, digits, _, . and -, at most 64 of them, and not only digits',
        '[access] services gives "prices" to "nobody-of-this-name": there is no such user',
    ]
