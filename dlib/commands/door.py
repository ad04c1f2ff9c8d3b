"""How every command ends: its exit code, and one line on stderr for what its user can fix."""

from __future__ import annotations

import errno
import functools
import os
import select
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from dlib.utils.errors import OTHER_DLIB, UsageError, UserError, missing_package
from dlib.utils.screen import make_screen_safe

STOPPED = "stopped by Ctrl-C"
AGAIN = f"{STOPPED}; what is finished is saved, and the same command continues"
# The exit codes that shells give for a program that Ctrl-C ended, or that wrote to a pipe without a reader.
BY_SIGINT, _BY_SIGPIPE = 130, 141

Work = Callable[[Sequence[str]], int | None]


class Main(Protocol):
    """A command: words of its command line (None: this process's) to its exit code."""

    def __call__(self, arguments: Sequence[str] | None = None) -> int: ...


def command(stopped: str = STOPPED) -> Callable[[Work], Main]:
    """Decorator: makes a ``Main`` from a function of words to an exit code (None: 0).

    Errors of the user and of the system (a full disk, a network file system that is gone) become one line on stderr;
    other exceptions are faults of the program and keep their traceback. Exit codes: 0 done, 1 UserError or OSError,
    2 UsageError, 130 Ctrl-C, 141 the reader of the output (such as ``head``) closed it before the work was done.

    Args:
        stopped: the message after Ctrl-C.
    """

    def decorate(work: Work) -> Main:
        @functools.wraps(work)
        def main(arguments: Sequence[str] | None = None) -> int:
            make_screen_safe()
            return _flushed(_ended(work, sys.argv[1:] if arguments is None else arguments, stopped))

        return main

    return decorate


def _ended(work: Work, arguments: Sequence[str], stopped: str) -> int:
    try:
        if "Localizer" not in getattr(sys.modules["dlib"], "__all__", ()):  # another package's __init__.py
            raise UserError(f"the package dlib here is another one: {OTHER_DLIB}")
        return work(arguments) or 0
    except SystemExit as end:  # how argparse ends after --help
        if end.code:
            raise
        return 0
    except UserError as error:
        # Every process of a run sees the same flags; other errors may concern this process only.
        if rank() == "0" or not isinstance(error, UsageError):
            _say_error(str(error))
        return error.exit_code
    except ModuleNotFoundError as error:
        _say_error(missing_package(error))
        return 1
    except KeyboardInterrupt:
        say(stopped)
        return BY_SIGINT
    except OSError as error:
        # A closed pipe between the processes of a run is not a reader that stopped reading.
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return _BY_SIGPIPE
        _say_error(_of_system(error))
        return 1


def _flushed(code: int) -> int:
    """``code``, after all output is written; otherwise Python would print its own error lines when it ends."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        with suppress(OSError), open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError) and code == 0:
            _say_error(_of_system(error))
            return 1
    return code


def _nobody_reads() -> bool:
    """Whether stdout or stderr is a pipe whose other end is closed."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, AttributeError):  # no stream, or one in memory
            poll = select.poll()
            poll.register(stream.fileno(), 0)
            if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
                return True
    return False


def _of_system(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    remedy = "; free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return f"{where}{error.strerror or error}{remedy}"


def _say_error(reason: str) -> None:
    process = "" if rank() == "0" else f" (process {rank()})"
    say(f"error{process}: {' '.join(reason.splitlines())}")


def say(line: str) -> None:
    """Print a line on stderr, if there is one."""
    with suppress(OSError, AttributeError):  # a closed stream, or none
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def rank() -> str:
    """This process's number in its run, which launchers such as torchrun set."""
    return os.environ.get("RANK", "0")
