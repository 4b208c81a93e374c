"""The checker accepts what can be explained and nothing else."""

import pytest

from tests.fault.kernel.linearizability import Done, explain


def done(called: float, answered: float, kind: str, argument: object, version: int, value: object = None, **more: object) -> Done:
    return Done(called, answered, kind, argument, int(more.get("expected", 0)), bool(more.get("applied", True)), version, value)  # type: ignore[call-overload]  # numbers


def test_operations_that_overlap_may_take_effect_in_any_order() -> None:
    """The later number was answered first."""
    assert explain([[done(0, 10, "increment", 1, 1, 1)], [done(1, 2, "increment", 1, 2, 2)]])
    assert explain(
        [[done(0, 10, "set", "a", 2)], [done(0, 10, "get", None, 0), done(10, 11, "get", None, 2, "a")], [done(0, 9, "set", "b", 1)]]
    )


@pytest.mark.parametrize(
    "clients",
    [
        [[done(0, 1, "increment", 1, 1, 1)], [done(2, 3, "increment", 1, 2, 1)]],  # lost
        [[done(0, 1, "increment", 1, 1, 1)], [done(2, 3, "increment", 1, 3, 3)]],  # done twice
        [[done(0, 1, "set", "a", 1), done(2, 3, "set", "b", 2)], [done(4, 5, "get", None, 1, "a")]],  # read what was gone
        [[done(0, 1, "set", "a", 1)], [done(0, 1, "get", None, 1, "b")]],  # read what never was
        [[done(0, 9, "cas", "a", 1, expected=0)], [done(0, 9, "cas", "b", 2, expected=0)]],  # both swapped the same version
        [[done(0, 1, "cas", "a", 0, None, expected=0, applied=False)]],  # not swapped, without a reason
        [[done(0, 1, "set", "a", 2)], [done(2, 3, "set", "b", 1)]],  # a version that went back
        [[done(0, 9, "set", "a", 1)], [done(1, 2, "get", None, 1, "a"), done(3, 4, "get", None, 0)]],  # seen, and then not
    ],
)
def test_a_history_that_nothing_explains_is_found(clients: list[list[Done]]) -> None:
    assert not explain(clients)


def test_a_history_of_many_is_checked_in_time() -> None:
    """Eight clients, all overlapping pairwise: the states that were seen are not seen again."""
    clients: list[list[Done]] = [[] for _ in range(8)]
    for number in range(800):
        clients[number % 8].append(done(number - 7, number + 0.5, "increment", 1, number + 1, number + 1))
    assert explain(clients)
    clients[3][-1] = clients[3][-1]._replace(value=1)
    assert not explain(clients)
