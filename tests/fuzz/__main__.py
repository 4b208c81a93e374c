"""``python -m tests.fuzz``: a million wrong messages against a real bus, over unix sockets and tcp; what must hold is held, and the figures are printed.

The bus answers or ignores; it is the same process at the end, has not grown, and another client's requests were all answered meanwhile. As it soon hears little of who says
nothing else, as many are read by its core alone.
"""

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path

from tests.fuzz.reading import read
from tests.fuzz.siege import WORSE_MOST, Siege, percentile

MEGABYTE = 1024 * 1024


def main() -> int:
    """Run; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=300.0, help="at most")
    parser.add_argument("--seed", type=int, default=None, help="of an earlier run, to repeat it")
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if asked.seed is None else asked.seed
    say(f"seed {seed}")
    with tempfile.TemporaryDirectory() as directory:
        outcome = Siege(Path(directory), seed, gives_way=True).run(messages=asked.messages, seconds=asked.seconds)
    say(
        f"sent {outcome.sent} in {outcome.seconds:.0f} s; the bus read {outcome.received} envelopes, {outcome.violations} violations, cut {outcome.cut} connections"
    )
    for name, times in (("in lulls", outcome.quiet), ("under attack", outcome.meanwhile)):
        if len(times) > 1:
            p50, p99, slowest = percentile(times, 50), percentile(times, 99), max(times)
            say(
                f"another client's requests {name}: {len(times)}, p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms, at most {slowest * 1e3:.0f} ms"
            )
    if len(outcome.quiet) > 1:
        verdict = "met" if outcome.worse <= WORSE_MOST else "not met"
        say(
            f"p99 under attack is {outcome.worse:.1f} x that of the lulls (at most {WORSE_MOST:g} x: {verdict}); load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        )
    say(
        f"memory {outcome.before / MEGABYTE:.0f} MiB before, {outcome.after / MEGABYTE:.0f} MiB after; audit file {outcome.audit / MEGABYTE:.1f} MiB"
    )
    reading = read(seed, asked.messages)  # a message that breaks the core raises
    say(
        f"its core alone read {reading.read} in {reading.seconds:.0f} s: {reading.violations} violations, {reading.refused} refusals, {reading.cut} connections cut"
    )
    for failure in outcome.failures:
        say(f"FAILED: {failure}")
    return 1 if outcome.failures else 0


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
