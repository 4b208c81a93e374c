"""The program ``dadmsctl``: runs the command that is asked for, and turns every error into one line and an exit code (exits.py)."""

import errno
import io
import os
import sys
from typing import Any

if __name__ == "__main__":
    from dadmsctl import entry  # it answers Ctrl-C while what stands below is imported, for `python -m dadmsctl`

    entry.main()

import click

from dadms_ipc.errors import DadmsError
from dadmsctl.cli import cli
from dadmsctl.exits import Exit, Finished, code_of
from dadmsctl.terminal import printable

# A group without a command: its message is the whole help. Click before 8.2 prints that itself, and has no such error.
HELP_ASKED: type[click.UsageError] | tuple[()] = getattr(click.exceptions, "NoArgsIsHelpError", ())


UNWRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def run(arguments: list[str] | None = None) -> int:
    """Run a command and give its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a letter is no reason to fail
    for argument in sys.argv[1:] if arguments is None else arguments:
        if not argument.isprintable() and any("\udc80" <= letter <= "\udcff" for letter in argument):  # bytes that are no UTF-8 (PEP 383)
            return say(f'cannot read the argument "{argument}": it is not UTF-8, and all that is sent and stored is', Exit.USAGE)
    try:
        answer = cli.main(arguments, prog_name="dadmsctl", standalone_mode=False)
        sys.stdout.flush()
    except Finished as finished:
        return finished.code
    except click.UsageError as error:
        if isinstance(error, HELP_ASKED):
            sys.stderr.write(f"{error.format_message()}\n")
            return Exit.USAGE
        hint = f" ({error.ctx.command_path} --help)" if error.ctx else ""
        return say(f"{error.format_message()}{hint}", Exit.USAGE)
    except click.ClickException as error:
        return say(error.format_message(), Exit.USAGE)
    except DadmsError as error:
        return say(str(error), code_of(error))
    except (KeyboardInterrupt, click.Abort):
        return Exit.INTERRUPTED
    except (BrokenPipeError, SystemExit):  # click exits on EPIPE by itself
        return Exit.PIPE_CLOSED
    except OSError as error:
        what = "write" if error.errno in UNWRITTEN and not error.filename else "go on"
        return say(f"cannot {what}: {error.strerror or error}" + (f": {error.filename}" if error.filename else ""), Exit.FAILED)
    except Exception as error:
        if os.environ.get("DADMS_TRACEBACK"):  # for whoever hunts the bug
            raise
        return say(f"cannot go on: a bug in dadmsctl: {type(error).__name__}: {error}", Exit.FAILED)
    return answer if isinstance(answer, int) else Exit.DONE


def say(line: str, code: Exit) -> Exit:
    """Write an error as one line."""
    sys.stderr.write(f"dadmsctl: {printable(' '.join(line.split()))}\n")
    return code


def open_streams() -> bool:
    """Give the null device to standard streams that are closed, lest the next file that is opened becomes one; False when stdout was."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            os.set_inheritable(number, True)
    is_open = sys.stdout is not None
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - for all the program's life
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - as above
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        encoding = sys.stderr.encoding if sys.stderr is not None else "utf-8"
        sys.stderr = io.TextIOWrapper(Unfailing(2, "w", closefd=False), encoding=encoding, errors="replace", write_through=True)
    return is_open


class Unfailing(io.FileIO):
    """A stream whose reader, or disk, may be gone: what it cannot take is lost, and costs neither the work nor its exit code."""

    def write(self, data: Any, /) -> int:
        """Write what can be written, and take all of it for written."""
        left = memoryview(data)
        try:
            while left:
                left = left[super().write(left) or len(left) :]
        except OSError:
            pass
        return len(data)


def main() -> int:
    """Be the program and give its exit code: whatever is left in a buffer that nobody reads is dropped, without a word."""
    if not open_streams():
        return say("cannot write: the standard output is closed; nothing was done", Exit.FAILED)
    code = run()
    try:
        sys.stdout.flush()
    except OSError:
        code = Exit.PIPE_CLOSED
    if code == Exit.PIPE_CLOSED:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code
