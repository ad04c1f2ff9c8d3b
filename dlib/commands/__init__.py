"""What all commands share: how they end, how they read their flags, and their names.

The list is ``registry.COMMANDS``. It names modules and imports none; nothing here imports torch.
"""

from dlib.commands.door import AGAIN, command
from dlib.commands.loading import loading
from dlib.commands.parsing import CommandParser, called_as

__all__ = ["AGAIN", "CommandParser", "called_as", "command", "loading"]
