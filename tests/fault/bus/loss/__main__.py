"""``python -m tests.fault.bus.loss``: the long run, which ``make soak-bus`` starts. Prints its seed first, and a line of JSON at the end."""

import argparse
import json
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

from dadms_ipc.client import Client
from tests.conftest import Daemon
from tests.fault.bus.loss.run import Run


def main() -> int:
    """Run once; gives 1 when something is not as it must be."""
    parser = argparse.ArgumentParser(prog="make soak-bus", description="Messages while everything is killed and stopped at random.")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=1800.0, help="when they are over, what was sent is accounted for")
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--receivers", type=int, default=4)
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between two faults, on average")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    given = parser.parse_args()
    sys.stdout.write(f"seed {given.seed}\n")
    sys.stdout.flush()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    daemon = Daemon(folder)
    try:
        with Client(daemon.runtime_dir, start_timeout=60, timeout=60):
            pass
        began = time.monotonic()
        run = Run(
            daemon, folder, messages=given.messages, senders=given.senders, receivers=given.receivers, pause=given.pause, seed=given.seed
        )
        run.go(given.seconds)
        mistakes = run.account.mistakes()
    finally:
        daemon.close()
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(f"{run.summary()}\n" + "".join(f"WRONG: {mistake}\n" for mistake in mistakes))
    found = {"seed": given.seed, "seconds": round(time.monotonic() - began, 1), "acknowledged": len(run.account.acknowledged)}
    sys.stdout.write(json.dumps({**found, "faults": sum(run.faults.values()), "mistakes": len(mistakes)}) + "\n")
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
