"""A service that says to its notify socket whatever chance gives, with descriptors of all kinds, and in the end that it is done: ``python -m tests.fuzz.speaker SEED COUNT``."""

import os
import random
import signal
import socket
import sys

from tests.fuzz.words import word

SHARED = (0, 0, 0, 1, 3, 16, 17, 253)  # descriptors that go along with a datagram: SCM_MAX_FD is 253


def main() -> None:
    """Speak, then wait to be ended."""
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    chance = random.Random(seed)
    reader, writer = os.pipe()
    null = os.open("/dev/null", os.O_RDWR)
    path = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(path)
        for number in range(count):
            fds = [chance.choice((reader, writer, null, sock.fileno())) for _ in range(chance.choice(SHARED))] if number % 7 == 0 else []
            try:
                socket.send_fds(sock, [word(chance)], fds)
            except OSError as error:  # too large for a datagram, or too many descriptors on their way
                sys.stderr.write(f"not said: {error}\n")
        sock.send(f"READY=1\nSTATUS=done {seed}".encode())
    signal.pause()


if __name__ == "__main__":
    main()
