"""One run of chaos, from a daemon's start to the judgement after its end."""

import random
import time
from pathlib import Path

from tests import leaks
from tests.chaos import judgement, victims
from tests.chaos.load import PATIENCE, Load
from tests.conftest import Daemon
from tests.fault.kernel.daemon import client as door_to
from tests.fault.kernel.test_workers import has_memory_groups

LOADS = 2
STARVED = (  # how want of memory is told: by Python, by the loader of shared objects, and by hashlib, whose library could not be loaded
    "MemoryError",
    "Cannot allocate memory",
    "failed to map segment from shared object",
    "unsupported hash type",
)
PAUSE = (0.05, 0.4)  # seconds between two deeds


def chaos(directory: Path, *, seconds: float, seed: int) -> tuple[list[str], str]:
    """Run chaos; gives everything that did not hold, and what was done in one line."""
    before = leaks.look()
    chance = random.Random(seed)
    daemon = Daemon(directory)
    wrong: list[str] = []
    deeds: list[str] = []
    try:
        with door_to(daemon, timeout=PATIENCE) as client:
            keeper = daemon.process.pid
            wrong += judgement.calm(client, keeper, daemon.runtime_dir)
            held = judgement.descriptors(keeper)
            loads = [Load(directory, daemon.runtime_dir, seed * LOADS + number, has_groups=has_memory_groups()) for number in range(LOADS)]
            for load in loads:
                load.start()
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                time.sleep(chance.uniform(*PAUSE))  # the pace of the chaos
                deeds += filter(None, [victims.hurt(keeper, daemon.runtime_dir, chance)])
            for load in loads:
                load.goes_on = False
            for load in loads:
                load.join(PATIENCE * 2)
                wrong += [f"{load.name} does not end"] if load.is_alive() else []
                wrong += [f"{load.name}: {load.error}"] if load.error else []
            wrong += [sentence for load in loads if not load.error for sentence in judgement.judge_processes(load)]
            wrong += judgement.calm(client, keeper, daemon.runtime_dir)
            zygotes = [victim for victim in victims.living(keeper, daemon.runtime_dir) if victim.part == "child"]
            most = held + 6 * len(zygotes) + judgement.FDS_SLACK
            now = judgement.settled(lambda: judgement.descriptors(keeper), most)
            wrong += [f"the keeper holds {now} descriptors, {held} before"] if now > most else []
            if daemon.process.poll() is not None:
                wrong.append("the keeper has ended")
        code = daemon.stop()
        wrong += [f"dadmsd ended with {code}: {daemon.said()[-500:]}"] if code else []
        wrong += judgement.judge_journal(daemon.state_dir)
        log = (daemon.state_dir / "logs" / "servers.log").read_text()
        wrong += [f"a traceback that is not about memory: {_excerpt(log)}"] if _excerpt(log) else []
    finally:
        daemon.close()
    try:
        leaks.check(before)
    except AssertionError as error:
        wrong.append(str(error))
    processes = [load.infos[started.pid] for load in loads for started in load.started if started.pid in load.infos]
    slowest = max(load.slowest for load in loads)
    completed = sum(info.status == "completed" for info in processes)
    return wrong, (
        f"{len(deeds)} deeds ({_counted(deeds)}); {len(processes)} processes, {completed} completed; the slowest answer took {slowest:.1f} s"
    )


def _counted(deeds: list[str]) -> str:
    kinds = [deed.rpartition(" ")[0] for deed in deeds]
    return ", ".join(f"{kind} {kinds.count(kind)}" for kind in sorted(set(kinds)))


def _excerpt(log: str) -> str:
    """Give the last line of a traceback that want of memory does not explain."""
    at = 0
    while (at := log.find("Traceback (most recent call last)", at)) >= 0:
        block = log[at : at + 4000]
        if not any(sign in block for sign in STARVED):
            return block[-1500:]
        at += 10
    return ""
