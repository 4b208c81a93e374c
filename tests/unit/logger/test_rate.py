"""A process may write its share, and ten seconds of it at once."""

from dadmsd.logger.rate import BURST, Allowance


def test_what_is_saved_up_may_be_written_at_once() -> None:
    allowance = Allowance(100, now=0.0)
    assert not allowance.is_used_up(0.0)
    allowance.use(int(100 * BURST))
    assert allowance.is_used_up(0.0)


def test_what_was_used_up_comes_back_with_time_and_no_more_than_the_burst() -> None:
    allowance = Allowance(100, now=0.0)
    allowance.use(1200)  # one reading may go below
    assert allowance.is_used_up(2.0)
    assert not allowance.is_used_up(2.1)
    allowance.is_used_up(1_000_000.0)
    allowance.use(1001)
    assert allowance.is_used_up(1_000_000.0)


def test_without_a_limit_nothing_is_used_up() -> None:
    allowance = Allowance(0, now=0.0)
    allowance.use(1 << 40)
    assert not allowance.is_used_up(0.0)
