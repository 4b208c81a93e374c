"""``python -m tests.fuzz.kernel``: some ten thousand wrong requests against a real daemon, then children of its own that are hostile, over their ports and their notify sockets; what must hold is held, and the figures are printed."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.conftest import Daemon
from tests.fuzz.assault import Assault
from tests.fuzz.children import besiege
from tests.fuzz.notices import listen

SPEAKERS = 5  # services


def main() -> int:
    """Run; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.kernel", description=__doc__)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--children", type=int, default=50, help="of each role, that are hostile over their ports")
    parser.add_argument("--words", type=int, default=10_000, help="of each service that says them to its notify socket")
    parser.add_argument("--seconds", type=float, default=300.0, help="at most")
    parser.add_argument("--seed", type=int, default=None, help="of an earlier run, to repeat it")
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if asked.seed is None else asked.seed
    _say(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="df-") as directory:
        daemon = Daemon(Path(directory))
        try:
            assault = Assault(daemon.runtime_dir, seed)
            outcome = assault.run(messages=asked.messages, seconds=asked.seconds)
            for role in ("main", "worker") if not outcome.failures else ():
                _say(f"{asked.children} hostile children: {role}")
                outcome.failures += besiege(daemon.runtime_dir, role, range(seed, seed + asked.children))
            if not outcome.failures:
                _say(f"{SPEAKERS} services with {asked.words} words each to their notify sockets")
                outcome.failures += listen(daemon.runtime_dir, range(seed, seed + SPEAKERS), asked.words)
            code = daemon.stop()
        finally:
            daemon.close()
        if code or "Traceback" in daemon.said():
            outcome.failures.append(f"the daemon ended with {code} and said: {daemon.said()[-3000:]}")
    counts = ", ".join(f"{count} {status or 'no status'}" for status, count in outcome.statuses.most_common())
    _say(f"sent {outcome.sent} requests to the kernel: {counts}; another client waited {outcome.slowest * 1000:.0f} ms at most")
    for failure in outcome.failures:
        _say(f"FAILED: {failure}")
    for body in assault.suspects() if outcome.failures else ():
        _say(f"unanswered: {len(body)} bytes, {body[:200]!r}")
    return 1 if outcome.failures else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
