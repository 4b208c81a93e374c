"""``python -m dadmsd.bus --keeper-fd N``: the bus as a server of the keeper, which speaks first."""

import argparse
import gc
import resource
import sys

from dadms_ipc.channel import Channel, adopt
from dadms_ipc.errors import ChannelClosed, DadmsError, PeerViolation
from dadmsd.keeper import messages as keeper
from dadmsd.stderr import say

CONNECTIONS = 4096  # a door: what two thousand processes and their clients need
OWN_FILES = 64  # descriptors that are not connections
WELCOME_TIMEOUT = 10.0  # seconds


def main() -> int:
    """Run the bus until the keeper ends it; gives the exit code."""
    parser = argparse.ArgumentParser(prog="dadmsd.bus", description="The message bus of dadmsd; started by the keeper.")
    parser.add_argument("--keeper-fd", type=int, required=True, help="the bus's end of its channel with the keeper")
    arguments = parser.parse_args()
    try:
        channel: Channel[keeper.FromKeeper] = Channel(adopt(arguments.keeper_fd), keeper.FromKeeper)
        frame = channel.receive(WELCOME_TIMEOUT)
    except (OSError, ChannelClosed, PeerViolation) as error:
        say(f"bus: cannot hear the keeper on descriptor {arguments.keeper_fd}: {error}")
        return 1
    if frame is None or not isinstance(frame.body, keeper.Welcome):
        say(f"bus: the keeper did not say Welcome within {WELCOME_TIMEOUT:g} s")
        return 1
    # Late: a bus that cannot hear its keeper needs no ZeroMQ.
    import zmq

    from dadmsd.bus.program import Program

    try:
        program = Program(channel, frame.body, ceiling=_ceiling())
        gc.freeze()  # what is here stays: a collection that walks all of it would hold up every message meanwhile
        program.run()
    except (DadmsError, zmq.ZMQError, OSError) as error:
        say(f"bus: cannot go on: {error}")
        return 1
    return 0


def _ceiling() -> int:
    """Give how many connections a door may have: libzmq aborts without descriptors, and accepts faster than it can be stopped."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return CONNECTIONS
    return max(8, min(CONNECTIONS, (hard - OWN_FILES) // 4))


if __name__ == "__main__":
    sys.exit(main())
