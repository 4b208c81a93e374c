"""The base zygote: ``python -m dadmsd.zygote --keeper-fd N``, started by the keeper. It holds no user code, and version zygotes and commands come from it.

What it imports is what every child has for nothing; nothing here may start a thread or make a ZeroMQ context.
"""

import fcntl
import gc
import os
import signal
import sys
from typing import NoReturn

from dadms_ipc.channel import Channel, adopt, decoder
from dadmsd.zygote import roles
from dadmsd.zygote.birth import VOCABULARIES
from dadmsd.zygote.messages import ToZygote
from dadmsd.zygote.server import Zygote
from dadmsd.zygote.surroundings import open_stream


def main() -> NoReturn:
    """Serve forks until the control channel closes."""
    if len(sys.argv) != 3 or sys.argv[1] != "--keeper-fd" or not sys.argv[2].isdecimal():
        print("usage: python -m dadmsd.zygote --keeper-fd N", file=sys.stderr)  # noqa: T201 - the program's own error
        sys.exit(2)
    keeper_fd = int(sys.argv[2])
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
