"""What benchmarks.threads compares with, each in a process of its own: ``python thread_peers.py NAME WORK COUNT`` prints the seconds.

Every peer has two workers, which are up and have worked before the clock runs. "bare" is no pool at all: two processes that run half of the work each in a loop.
This file is run by the environment of the peers, which has nothing of this project in it.
"""

import multiprocessing
import sys
import time
from typing import Any

WORKERS = 2
MILLISECOND = 0.001  # seconds


def noop(arguments: Any) -> Any:
    """Give back what came in."""
    return arguments


def spin(_arguments: Any) -> None:
    """Work for a millisecond of wall clock."""
    end = time.perf_counter() + MILLISECOND
    while time.perf_counter() < end:
        pass


WORK = {"noop": noop, "spin": spin}


def timed(submit: Any, result: Any, count: int) -> float:
    """Submit one by one, then read every result; the first hundred are not timed."""
    for each in [submit(index) for index in range(100)]:
        result(each)
    began = time.perf_counter()
    submitted = [submit(index) for index in range(count)]
    for each in submitted:
        result(each)
    return time.perf_counter() - began


def processpoolexecutor(work: Any, count: int) -> float:
    """The standard library's executor."""
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(WORKERS) as pool:
        return timed(lambda index: pool.submit(work, index), lambda future: future.result(), count)


def multiprocessing_pool(work: Any, count: int) -> float:
    """The standard library's pool, a call a thread."""
    with multiprocessing.Pool(WORKERS) as pool:
        return timed(lambda index: pool.apply_async(work, (index,)), lambda future: future.get(), count)


def bare_asyncio(_work: Any, count: int) -> float:
    """No pool and no process: so many coroutines in one loop, that sleep for a second."""
    import asyncio

    async def naps() -> None:
        await asyncio.gather(*(asyncio.sleep(1.0) for _ in range(count)))

    began = time.perf_counter()
    asyncio.run(naps())
    return time.perf_counter() - began


def chunked_map(work: Any, count: int) -> float:
    """The same pool given all at once: not individually submitted."""
    with multiprocessing.Pool(WORKERS) as pool:
        pool.map(work, range(100))
        began = time.perf_counter()
        pool.map(work, range(count))
        return time.perf_counter() - began


def loky(work: Any, count: int) -> float:
    """Loky's executor."""
    from loky import get_reusable_executor

    pool = get_reusable_executor(max_workers=WORKERS)
    return timed(lambda index: pool.submit(work, index), lambda future: future.result(), count)


def pebble(work: Any, count: int) -> float:
    """Pebble's pool, which can kill one task."""
    from pebble import ProcessPool

    with ProcessPool(max_workers=WORKERS) as pool:
        return timed(lambda index: pool.schedule(work, (index,)), lambda future: future.result(), count)


def dask(work: Any, count: int) -> float:
    """Dask's distributed scheduler, with two single-threaded workers."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        return timed(lambda index: client.submit(work, index, pure=False), lambda future: future.result(), count)


def _loop(work: Any, count: int, gate: Any) -> None:
    gate.wait()
    for index in range(count):
        work(index)
    gate.wait()


def bare(work: Any, count: int) -> float:
    """Two loops."""
    gate = multiprocessing.Barrier(WORKERS + 1)
    loops = [multiprocessing.Process(target=_loop, args=(work, count // WORKERS, gate)) for _ in range(WORKERS)]
    for each in loops:
        each.start()
    gate.wait()
    began = time.perf_counter()
    gate.wait()
    seconds = time.perf_counter() - began
    for each in loops:
        each.join()
    return seconds


PEERS = {each.__name__: each for each in (processpoolexecutor, multiprocessing_pool, chunked_map, loky, pebble, dask, bare, bare_asyncio)}

if __name__ == "__main__":
    print(PEERS[sys.argv[1]](WORK[sys.argv[2]], int(sys.argv[3])))
