"""What the dataset commands share: user mistakes end in one line and the right exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable

from dlib.utils.errors import UserError


def run_command(main: Callable[[], None]) -> None:
    """Run a command's ``main``; an error that the user can mend is one line on stderr.

    Exit codes: 1 bad data, 2 bad flags, 130 interrupted.
    """
    try:
        main()
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("Interrupted; run the same command again to go on.", file=sys.stderr)
        sys.exit(130)
