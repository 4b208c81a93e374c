"""The base zygote: ``python -m dadmsd.zygote --keeper-fd N``, started by the keeper. It holds no user code, and version zygotes and commands come from it.

What it imports is what every child has for nothing; nothing here may start a thread or make a ZeroMQ context.
"""

import argparse
import fcntl
import gc
import os
import signal
import sys

from dadms_ipc.channel import Channel, adopt, decoder
from dadmsd.zygote import roles
from dadmsd.zygote.birth import VOCABULARIES
from dadmsd.zygote.messages import ToZygote
from dadmsd.zygote.server import Zygote
from dadmsd.zygote.surroundings import open_stream


def main() -> None:
    """Serve forks until the control channel closes."""
    parser = argparse.ArgumentParser(prog="python -m dadmsd.zygote", description="The base fork server of dadmsd; the keeper starts it.")
    parser.add_argument("--keeper-fd", type=int, required=True, help="descriptor of the control channel")
    keeper_fd = parser.parse_args().keeper_fd
    fcntl.fcntl(keeper_fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)  # it was inherited, so it is inheritable
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.close(null)
    sys.stdout, sys.stderr = open_stream(1), open_stream(2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # an ignored one would be inherited by everything
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    control: Channel[ToZygote] = Channel(adopt(keeper_fd), VOCABULARIES["zygote"])
    for vocabulary in VOCABULARIES.values():
        decoder(vocabulary)  # once, for all the children to come
    gc.collect()
    gc.disable()
    gc.freeze()
    roles.live(Zygote("base", control).serve())


if __name__ == "__main__":
    main()
