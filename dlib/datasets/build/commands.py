"""What the dataset commands share: user mistakes end in one line and the right exit code."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from dlib.utils.errors import UserError


def run_command(main: Callable[[], None]) -> None:
    """Run a command's ``main``; an error that the user can mend is one line on stderr.

    Exit codes: 1 bad data, 2 bad flags, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):  # file names may hold what the terminal cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        main()
    except UserError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}", 1)
    except KeyboardInterrupt:
        print("Interrupted; run the same command again to go on.", file=sys.stderr)
        sys.exit(130)


def _fail(reason: str, code: int) -> NoReturn:
    print("Error:", " ".join(reason.splitlines()), file=sys.stderr)
    sys.exit(code)


def check_folder(flag: str, path: Path) -> None:
    """Raises UserError if ``path`` cannot become a folder, because it or a part of it is a file."""
    for part in (path, *path.parents):
        if part.is_dir():
            return
        if part.exists():
            raise UserError(f"{flag} {path}: {part} is a file; give a folder")
