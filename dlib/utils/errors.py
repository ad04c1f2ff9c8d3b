"""Errors that a user can fix: shown as one line, without a traceback."""

from __future__ import annotations

import sys

# Both have a package dlib, and whichever is installed last breaks the other.
OTHER_DLIB = (
    "CoLo-CAM and the face library dlib of PyPI have the same package name: "
    "install each in its own environment"
)


def missing_package(error: ModuleNotFoundError) -> str:
    """The line for a package that this Python does not have; ``error`` again if it is a module of this program."""
    if error.name is None or error.name.partition(".")[0] == "dlib":
        raise error
    return (
        f"this Python ({sys.executable}) has no package {error.name}; `bash cmds/setup.sh` installs all packages "
        "into .venv, and `.venv/bin/python` uses them"
    )


class UserError(Exception):
    """Bad data, path or checkpoint; the message names the thing and the remedy. The program exits with 1."""

    exit_code = 1


class Diverged(UserError):
    """The network's numbers are not finite any more."""


class UsageError(UserError):
    """Bad flag, value or combination of flags. The program exits with 2."""

    exit_code = 2
