"""A program that is interrupted again and again, and goes on: whatever it was in the middle of, its client is not deaf afterwards."""

import contextlib
import random
import signal
import threading
import time
from types import FrameType

import pytest

from dadms_ipc.client import Client
from dadms_ipc.errors import DadmsError, DeadlinePassed
from tests.integration.bus.daemon import Daemon

STORM = 4.0  # seconds
AFTERWARDS = 200  # messages


class Interrupted(Exception):
    """What Ctrl-C would be."""


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of a socket whose very making was interrupted: it closes itself
def test_a_client_outlives_a_storm_of_interrupts(daemon: Daemon) -> None:
    """They come at any of its instructions. No message comes twice or out of order, and of those that are sent afterwards none is missing."""
    address, is_over, failures = "", threading.Event(), list[BaseException]()

    def send() -> None:
        number = 0
        try:
            with Client(daemon.directory, timeout=20.0) as client:
                while not is_over.is_set():
                    with contextlib.suppress(DadmsError):  # not answered in time, by one who is interrupted
                        client.send(address, "T", b"%d" % number, timeout=0.5)
                    number += 1
                for last in range(1_000_000, 1_000_000 + AFTERWARDS):
                    assert client.send(address, "T", b"%d" % last) == "handled"
        except BaseException as error:  # for the thread that judges
            failures.append(error)

    def interrupt(thread: int) -> None:
        chance = random.Random(20_261_123)  # repeatable
        end = time.monotonic() + STORM
        while time.monotonic() < end:
            time.sleep(chance.uniform(0.0005, 0.004))  # the pause is the point
            signal.pthread_kill(thread, signal.SIGUSR1)
        is_over.set()

    def raised(_number: int, frame: FrameType | None) -> None:
        if not is_over.is_set() and frame is not None and "dadms_ipc" in frame.f_code.co_filename:
            raise Interrupted

    got: list[int] = []
    before = signal.signal(signal.SIGUSR1, raised)
    threads: list[threading.Thread] = []
    try:
        with Client(daemon.directory, timeout=20.0) as client:
            address = client.address
            threads = [threading.Thread(target=send), threading.Thread(target=interrupt, args=(threading.get_ident(),))]
            for thread in threads:
                thread.start()
            end = time.monotonic() + STORM + 30.0
            while (not got or got[-1] != 1_000_000 + AFTERWARDS - 1) and time.monotonic() < end:
                with contextlib.suppress(Interrupted, DeadlinePassed):
                    message = client.receive(timeout=1.0)
                    got.append(int(message.body))
    finally:
        is_over.set()
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        for thread in threads:
            thread.join()
        signal.signal(signal.SIGUSR1, before)
    assert not failures, failures
    assert got[-AFTERWARDS:] == list(range(1_000_000, 1_000_000 + AFTERWARDS))
    assert got == sorted(set(got))
