"""``python -m dadmsd.logger --keeper-fd N``: writes what processes print into files; started by the keeper alone."""

import sys

from dadms_ipc import channel as channels
from dadmsd.keeper import messages
from dadmsd.logger.loop import Logger


def main() -> int:
    """Run the logger; gives its exit code."""
    if len(sys.argv) != 3 or sys.argv[1] != "--keeper-fd" or not sys.argv[2].isdecimal():
        print("usage: python -m dadmsd.logger --keeper-fd N", file=sys.stderr)  # noqa: T201 - the program's own error
        return 2
    Logger(channels.Channel(channels.adopt(int(sys.argv[2])), messages.FromKeeper)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
