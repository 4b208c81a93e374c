"""What benchmarks.threads compares the latency of one thread with, each in a process of its own: ``python thread_alone.py NAME PAUSE COUNT`` prints p50 and p99 in seconds.

One task at a time: it is submitted, its result is read, and nothing else runs. With a pause before each, every core has gone to sleep; without one, caches are warm.
"echo" is no pool at all: a byte to another process and back over a socket, which is what two wake-ups cost on this machine; a thread of ours takes four. "relay" takes
those four, and two writes to a file: a process asks a second, which writes a kilobyte, asks a third, writes another, and answers. It decides nothing and checks nothing, so
no journaled thread of three Python processes can be faster here; what ours takes beyond it is our own work.
"""

import multiprocessing
import os
import select
import socket
import sys
import tempfile
import time
from collections.abc import Callable

WORKERS = 2
WARM = 100  # tasks that are not timed
RELAYED = bytes(38)  # as long as our submission of a thread; its batch and its doorbell are shorter
NOTED = bytes(1100)  # what a turn of our kernel writes for one thread


def noop(argument: int) -> int:
    """Give back what came in."""
    return argument


def alone(do: Callable[[int], object], pause: float, count: int) -> list[float]:
    """Do one after the other; give the seconds of each."""
    seconds = []
    for index in range(WARM + count):
        if pause:
            time.sleep(pause)
        began = time.perf_counter()
        do(index)
        seconds.append(time.perf_counter() - began)
    return seconds[WARM:]


def processpoolexecutor(pause: float, count: int) -> list[float]:
    """The standard library's executor."""
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(WORKERS) as pool:
        return alone(lambda index: pool.submit(noop, index).result(), pause, count)


def multiprocessing_pool(pause: float, count: int) -> list[float]:
    """The standard library's pool."""
    with multiprocessing.Pool(WORKERS) as pool:
        return alone(lambda index: pool.apply(noop, (index,)), pause, count)


def _echo(end: socket.socket) -> None:
    while said := end.recv(4096):
        end.send(said)


def echo(pause: float, count: int) -> list[float]:
    """A byte there and back."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    other = multiprocessing.Process(target=_echo, args=(theirs,))
    other.start()
    theirs.close()

    def once(_index: int) -> None:
        ours.send(b".")
        ours.recv(1)

    try:
        return alone(once, pause, count)
    finally:
        ours.shutdown(socket.SHUT_RDWR)
        other.join()


def _relay(asker: socket.socket, worker: socket.socket) -> None:
    epoll = select.epoll()
    for end in (asker, worker):
        epoll.register(end.fileno(), select.EPOLLIN)
    with tempfile.TemporaryFile(buffering=0) as file:
        place = 0
        while True:
            for fd, _ in epoll.poll():
                source, target = (asker, worker) if fd == asker.fileno() else (worker, asker)
                said = source.recv(4096)
                if not said:
                    worker.shutdown(socket.SHUT_RDWR)
                    return
                place += os.pwrite(file.fileno(), NOTED, place)
                target.send(said)


def relay(pause: float, count: int) -> list[float]:
    """The way of a thread of ours, and nothing else."""
    ours, asker = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    worker, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    others = [multiprocessing.Process(target=_relay, args=(asker, worker)), multiprocessing.Process(target=_echo, args=(theirs,))]
    for other in others:
        other.start()
    for end in (asker, worker, theirs):
        end.close()

    def once(_index: int) -> None:
        ours.send(RELAYED)
        ours.recv(4096)

    try:
        return alone(once, pause, count)
    finally:
        ours.shutdown(socket.SHUT_RDWR)
        for other in others:
            other.join()


PEERS = {each.__name__: each for each in (processpoolexecutor, multiprocessing_pool, echo, relay)}

if __name__ == "__main__":
    found = sorted(PEERS[sys.argv[1]](float(sys.argv[2]), int(sys.argv[3])))
    print(found[len(found) // 2], found[len(found) * 99 // 100])
