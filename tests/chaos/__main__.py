"""``make chaos``: ``python -m tests.chaos [--seconds 60] [--seed N]``."""

import argparse
import os
import secrets
import sys
import tempfile
from pathlib import Path

from dadmsd.keeper.descent import become_subreaper
from tests.chaos.storm import chaos


def main() -> int:
    """Run it once and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="to do the same again; printed")
    options = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    print(f"chaos: seed {seed}, {options.seconds:g} s", flush=True)  # noqa: T201 - a program of the checkout, for people
    become_subreaper()
    with tempfile.TemporaryDirectory(prefix="dc-") as directory:
        place, temporary = Path(directory, "c"), Path(directory, "t")
        for made in (place, temporary):
            made.mkdir(mode=0o700)
        os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)  # what is left there is ours
        wrong, about = chaos(place, seconds=options.seconds, seed=seed)
    print(about)  # noqa: T201 - as above
    for sentence in wrong:
        print(f"does not hold: {sentence}")  # noqa: T201 - as above
    print(f"chaos: seed {seed}: {'everything holds' if not wrong else f'{len(wrong)} do not hold'}")  # noqa: T201 - as above
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
