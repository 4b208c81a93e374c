"""Times in words: how long something took, and which key sets a time-out."""

import pytest

from dadms_ipc.requests import Spec
from dadmsd.kernel.core import timeouts
from dadmsd.kernel.core.durations import duration
from dadmsd.kernel.core.readiness import run_timeout
from tests.unit.kernel.driver import Driver
from tests.unit.kernel.test_restarts import command


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1.0, "0 s"),
        (0.004, "4 ms"),
        (0.492, "0.49 s"),
        (20.2, "20 s"),
        (119.4, "119 s"),
        (119.6, "2 min 00 s"),
        (830.0, "13 min 50 s"),
        (7500.0, "2 h 05 min"),
    ],
)
def test_durations_have_as_many_digits_as_mean_something(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_time_out_names_the_key_that_sets_it_and_its_default() -> None:
    driver = Driver()
    tool = driver.process(command(driver, kind="tool", thread_timeout=2.0))
    service = driver.process(command(driver, run_timeout=7.0))
    state, default = driver.state, driver.state.settings.thread_timeout
    assert timeouts.run_words(state, tool, run_timeout(state, tool)) == "60 s (run_timeout, 60 s by default)"
    assert timeouts.run_words(state, service, run_timeout(state, service)) == "7 s (run_timeout, for ever by default)"
    assert timeouts.thread_words(state, tool, 2.0) == f"did not end within 2 s (thread_timeout, {default:g} s by default)"
    assert timeouts.thread_words(state, service, default) == f"did not end within {default:g} s (thread_timeout, {default:g} s by default)"
    assert timeouts.thread_words(state, tool, 0.5) == "did not end within 0.5 s", "whoever submitted it asked for that"
    assert timeouts.words(2.0, "probe_timeout", Spec("").probe_timeout) == "2 s (probe_timeout, 5 s by default)"
