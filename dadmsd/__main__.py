"""``dadmsd``: the daemon, in the foreground.

What goes wrong is said in one line on stderr, with an exit code that a script can use: 2 for the command line and the configuration, 4 for a host or a directory
that refuses, 1 for a daemon that did not end in order, 0 otherwise.
"""

import sys

if __name__ == "__main__":
    from dadmsd import entry  # it answers Ctrl-C while what stands below is imported, for `python -m dadmsd`

    entry.main()

from pathlib import Path

from dadmsd import __version__

EXIT_ORDER, EXIT_USAGE, EXIT_REFUSED = 0, 2, 4


def main(argv: list[str] | None = None) -> int:
    """Run the daemon; gives its exit code."""
    try:
        return _run(argv)
    except KeyboardInterrupt:
        return EXIT_ORDER  # before the keeper's loop took over: nothing has been started, and what was made is removed


def _run(argv: list[str] | None) -> int:
    import argparse  # here, as below: `import dadmsd.__main__` costs nothing

    def directory(text: str) -> Path:
        """Refuse no name at all, which would mean the current directory."""
        if not text:
            raise argparse.ArgumentTypeError("it is empty")
        return Path(text)

    parser = argparse.ArgumentParser(
        prog="dadmsd",
        description="The DADMS daemon: keeps kernel, bus, logger and base zygote running, in the foreground, until SIGTERM or Ctrl-C.",
        epilog="Exit codes: 0 ended in order, 1 not in order, 2 wrong options or configuration, 4 refused (another daemon runs, a directory is not usable).",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"dadmsd {__version__}")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML file; without it, the defaults of docs/reference/configuration.md"
    )
    parser.add_argument(
        "--runtime-dir", type=directory, metavar="DIR", help="sockets, lock and epoch (default: $DADMS_RUNTIME_DIR, /run/dadms for root)"
    )
    parser.add_argument(
        "--state-dir", type=directory, metavar="DIR", help="journals and logs (default: $DADMS_STATE_DIR, /var/lib/dadms for root)"
    )
    parser.add_argument(
        "--lease-fd",
        type=int,
        metavar="N",
        help="end, and remove the runtime directory, when this descriptor is at its end (used by `dadmsctl run`)",
    )
    options = parser.parse_args(argv)

    from dadms_ipc import paths
    from dadms_ipc.errors import DadmsError
    from dadmsd import config, roles
    from dadmsd.keeper import program, servers

    try:
        roles.check(config.load(options.config), str(options.config))
        if options.lease_fd is not None:
            program.check_lease(options.lease_fd)
            if options.runtime_dir is None:
                parser.error("--lease-fd needs a --runtime-dir of its own")
    except DadmsError as error:
        return _fail(error, EXIT_USAGE)
    try:
        return program.run(
            runtime_dir=(options.runtime_dir or paths.runtime_dir()).absolute(),
            state_dir=(options.state_dir or paths.state_dir()).absolute(),
            config=None if options.config is None else options.config.absolute(),
            lease_fd=options.lease_fd,
            commands=servers.standard_commands(),
        )
    except DadmsError as error:
        return _fail(error, EXIT_REFUSED)


def _fail(error: Exception, code: int) -> int:
    print(f"dadmsd: {error}", file=sys.stderr)  # noqa: T201 - the program's own error
    return code
