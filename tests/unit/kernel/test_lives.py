"""The history is bounded, and knows the last incarnation of each process that it has any of."""

from dadmsd.kernel.core.lives import Lives
from dadmsd.kernel.core.records import Life


def life(number: int, pid: int, incarnation: int) -> Life:
    """Give an incarnation that ended."""
    return Life(pid=pid, incarnation=incarnation, name="p", uid=0, status="failed", cause="exited 1", number=number)


def test_the_oldest_ends_go_first_and_a_process_is_known_while_one_of_its_lives_is() -> None:
    lives = Lives(2)
    assert not lives.add(life(1, 1001, 1))
    assert not lives.add(life(2, 1001, 2))
    assert [gone.number for gone in lives.add(life(3, 1002, 1))] == [1]
    last = lives.last(1001)
    assert last is not None
    assert last.incarnation == 2
    assert [gone.number for gone in lives.add(life(4, 1003, 1))] == [2]
    assert lives.last(1001) is None
    assert [each.number for each in lives] == [3, 4]
    assert [each.number for each in reversed(lives)] == [4, 3]
    assert len(lives) == 2


def test_they_are_taken_up_in_the_order_of_their_ends() -> None:
    lives = Lives(10)
    lives.take_up([life(3, 1001, 2), life(1, 1001, 1)])
    last = lives.last(1001)
    assert last is not None
    assert last.incarnation == 2
