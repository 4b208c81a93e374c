"""kill -9 of the kernel at every place of the conversation: no thread is lost, none runs twice, and the outcome is the same."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.example.port_kernel import PortKernel

EXAMPLE = Path(__file__).parent / "data"
PLACES = ["submit read", "submit committed", "result committed", "outcome read", "outcome committed"]
VISITS = {"submit read": 3, "submit committed": 3, "result committed": 4, "outcome read": 1, "outcome committed": 1}


@pytest.mark.parametrize(("place", "visit"), [(place, visit) for place in PLACES for visit in range(1, VISITS[place] + 1)])
def test_kernel_may_die_anywhere(place: str, visit: int, run_model: Callable[..., PortKernel]) -> None:
    kernel = run_model(EXAMPLE / "fork_join.bpmn", EXAMPLE / "counting.py", fault=(place, visit), slots=2)
    assert kernel.deaths == 1, "the fault was never reached"
    assert (kernel.status, kernel.exit_code) == ("completed", 0)
    assert sorted(kernel.outcome["variables"]["order"]) == ["first", "left", "right"]
    assert sorted(label for _, _, label in kernel.journal.threads.values()) == ["First", "Left", "Right", "Sum up"]
    assert set(kernel.starts.values()) == {1}
    assert kernel.journal.seen <= len(kernel.journal.results)
