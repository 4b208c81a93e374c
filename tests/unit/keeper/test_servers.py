"""When a server is started again, and how its end is told."""

import os
import signal

from dadmsd.keeper.servers import Backoff, describe_end


def test_a_server_that_dies_at_once_waits_twice_as_long_each_time_up_to_a_second() -> None:
    backoff = Backoff()
    waits = [backoff.after(0.0) for _ in range(10)]
    assert waits == [0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0]


def test_a_server_that_was_well_is_started_at_once_and_its_delay_is_forgotten() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after(0.0)
    assert backoff.after(10.0) == 0.0
    assert backoff.after(0.0) == 0.005


def test_a_server_that_lived_a_while_waits_as_long_as_the_last_time() -> None:
    backoff = Backoff()
    assert [backoff.after(0.0), backoff.after(5.0), backoff.after(5.0), backoff.after(0.5), backoff.after(0.5)] == [
        0.005,
        0.01,
        0.01,
        0.01,
        0.02,
    ]


def test_an_end_is_told_in_words() -> None:
    assert describe_end(os.CLD_EXITED, 3) == "exit 3"
    assert describe_end(os.CLD_KILLED, signal.SIGKILL) == "signal 9 (SIGKILL)"
    assert describe_end(os.CLD_DUMPED, signal.SIGSEGV) == "signal 11 (SIGSEGV)"
    assert describe_end(os.CLD_KILLED, 42) == "signal 42 (a real-time signal)"
