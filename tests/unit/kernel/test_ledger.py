"""The ledger grants what there is and gets back what it granted."""

import pytest

from dadmsd.kernel.core.ledger import Grant, Ledger

GIB = 1 << 30


def test_a_refusal_has_the_numbers() -> None:
    """Who asks for more than is free is told how much was asked and how much is free."""
    ledger = Ledger(memory=4 * GIB, cpu=2.0, processes=10)
    ledger.grant(1001, Grant(3 * GIB, 0.5))
    assert ledger.refusal("etl", Grant(3 * GIB, 0.0)) == 'cannot start "etl": 3 GiB asked, 1 GiB free of 4 GiB'
    assert ledger.refusal("etl", Grant(0, 1.75)) == 'cannot start "etl": 1.75 cores asked, 1.5 free of 2'
    assert ledger.refusal("etl", Grant(GIB, 1.5)) == ""
    ledger.check()


def test_the_number_of_processes_is_bounded() -> None:
    """Process 11 of 10 is refused."""
    ledger = Ledger(memory=GIB, cpu=1.0, processes=1)
    ledger.grant(1001, Grant(0, 0.0))
    assert "at most 1 may" in ledger.refusal("etl", Grant(0, 0.0))
    ledger.give_back(1001)
    assert ledger.refusal("etl", Grant(0, 0.0)) == ""


def test_what_was_granted_comes_back_once() -> None:
    """Giving back frees exactly what was reserved; a second time is a bug of ours and says so."""
    ledger = Ledger(memory=GIB, cpu=1.0, processes=10)
    ledger.grant(1001, Grant(GIB, 0.1))
    ledger.grant(1002, Grant(0, 0.2))
    ledger.give_back(1001)
    ledger.check()
    assert ledger.memory_reserved == 0
    with pytest.raises(KeyError):
        ledger.give_back(1001)
