"""``make soak-restarts``: ``python -m tests.soak [--restarts 100000] [--seconds 1800] [--seed N]``."""

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from dadms_ipc.client import Client
from dadmsd.keeper.descent import become_subreaper
from tests.conftest import Daemon
from tests.soak.restarts import Held, grown, restart

EVERY = 10_000  # restarts between two looks
FULL = 20_000  # restarts after which all that is bounded is full
SLACK = 4 << 20  # bytes that an allocator may hold more, however long it runs


def main() -> int:
    """Run it once and say whether anything grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--restarts", type=int, default=100_000)
    parser.add_argument("--every", type=int, default=EVERY, help="restarts between two lines")
    parser.add_argument("--seconds", type=float, default=1800.0, help="at most")
    parser.add_argument("--seed", type=int, default=None, help="of how they end; printed")
    options = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    print(f"restarts: seed {seed}, {options.restarts} of them, {options.seconds:g} s at most", flush=True)  # noqa: T201 - a program of the checkout, for people
    become_subreaper()
    with tempfile.TemporaryDirectory(prefix="ds-") as directory:
        made = Daemon(Path(directory))
        try:
            with Client(made.runtime_dir, timeout=60.0, start_timeout=20.0) as client:
                found = restart(
                    client, made.runtime_dir, restarts=options.restarts, every=options.every, seed=seed, seconds=options.seconds, say=_say
                )
        finally:
            made.close()
    full = [each for each in found if each.restarts >= FULL]
    if len(full) < 2:
        print(f"restarts: {found[-1].restarts if found else 0} are too few to judge: what is bounded is full after {FULL}")  # noqa: T201 - as above
        return 1
    wrong = grown(full[0], full[-1], memory=SLACK, journal=SLACK)
    for sentence in wrong:
        print(f"does not hold: {sentence}")  # noqa: T201 - as above
    print(f"restarts: seed {seed}: {'nothing grew' if not wrong else f'{len(wrong)} grew'} from {full[0].restarts} to {full[-1].restarts}")  # noqa: T201 - as above
    return 1 if wrong else 0


def _say(moment: Held) -> None:
    print(moment.line(), flush=True)  # noqa: T201 - as above


if __name__ == "__main__":
    sys.exit(main())
