"""A real keeper in a process of its own, with the servers that a test names: ``daemon.py RUNTIME STATE NAME=COMMAND… [--lease-fd N] [--config FILE]``."""

import argparse
import os
import shlex
import sys
from pathlib import Path

from dadms_ipc.errors import DadmsError
from dadmsd.keeper import program
from dadmsd.keeper.servers import ServerCommand


def main() -> int:
    """Run the keeper."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runtime_dir", type=Path)
    parser.add_argument("state_dir", type=Path)
    parser.add_argument("commands", nargs="+")
    parser.add_argument("--lease-fd", type=int)
    parser.add_argument("--config", type=Path)
    options = parser.parse_args()
    named = [command.partition("=") for command in options.commands]
    try:
        return program.run(
            runtime_dir=options.runtime_dir,
            state_dir=options.state_dir,
            config=options.config,
            lease_fd=options.lease_fd,
            commands=tuple(ServerCommand(name, tuple(shlex.split(line))) for name, _, line in named),
        )
    except DadmsError as error:
        os.write(2, f"dadmsd: {error}\n".encode())
        return 4


if __name__ == "__main__":
    sys.exit(main())
