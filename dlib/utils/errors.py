"""Errors that a user can fix: shown as one line, without a traceback."""

from __future__ import annotations

# Both have a package dlib, and whichever is installed last breaks the other.
OTHER_DLIB = (
    "CoLo-CAM and the face library dlib of PyPI have the same package name: "
    "install each in its own environment"
)


class UserError(Exception):
    """Bad data, path or checkpoint; the message names the thing and the remedy. The program exits with 1."""

    exit_code = 1


class Diverged(UserError):
    """The network's numbers are not finite any more."""


class UsageError(UserError):
    """Bad flag, value or combination of flags. The program exits with 2."""

    exit_code = 2
