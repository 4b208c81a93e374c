"""A short run under fire, with one seed; ``make soak-bus`` is the long one."""

from pathlib import Path

import pytest

from tests.conftest import Daemon
from tests.fault.bus.loss.account import Account
from tests.fault.bus.loss.run import Run

SEED = 20_261_122
FAULTS = 12


def test_every_acknowledged_message_has_one_outcome(keeper_daemon: Daemon, tmp_path: Path) -> None:
    """Senders, receivers, bus and kernel are killed and stopped meanwhile; the order of each sender is kept."""
    run = Run(keeper_daemon, tmp_path, messages=1_000_000, senders=2, receivers=2, pause=0.25, seed=SEED)
    run.go(60, faults=FAULTS)
    assert run.account.mistakes() == [], run.summary()
    assert len(run.account.acknowledged) > 1000, run.summary()
    assert run.faults.total() == FAULTS, run.summary()


def _account(**changes: object) -> Account:
    """Give an account in which everything is right, but for the changes."""
    account = Account(
        acknowledged={("a", 1): "handled", ("a", 2): "stored", ("a", 3): "stored"},
        handled={("a", 1): [("1001", 1, False)], ("a", 2): [("1001", 1, True), ("1001", 2, True)]},
        order={("a", "1001"): [1, 2]},
        dead={("a", 3)},
        outcomes={"kept": 2, "handled": 1, "dead": 1},
    )
    for name, value in changes.items():
        setattr(account, name, value)
    return account


@pytest.mark.parametrize(
    ("changes", "mistake"),
    [
        ({}, ""),
        ({"dead": set()}, "1 acknowledged messages are lost, 0 expired"),
        ({"handled": {("a", 2): [("1001", 1, True)]}, "dead": {("a", 3), ("a", 1)}}, "1 messages were called handled and are not"),
        (
            {"handled": {("a", 1): [("1001", 1, False), ("1001", 1, True)], ("a", 2): [("1001", 1, False)]}},
            "was handled twice in an incarnation",
        ),
        ({"handled": {("a", 1): [("1001", 1, False), ("1001", 2, False)], ("a", 2): [("1001", 1, False)]}}, "came again without a mark"),
        ({"order": {("a", "1001"): [2, 1]}}, "1 messages out of their order"),
        ({"outcomes": {"kept": 3, "handled": 1, "dead": 1}}, "3 messages were on disk, 2 have an outcome"),
    ],
)
def test_the_account_finds_what_is_wrong(changes: dict[str, object], mistake: str) -> None:
    """Each kind of mistake, and no other."""
    found = _account(**changes).mistakes()
    assert len(found) == (1 if mistake else 0), found
    assert all(mistake in one for one in found)
