"""Train a model, or measure a trained one (``--eval_only True``): what ``main.py`` and ``colocam train`` run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from dlib.commands import called_as, command, loading
from dlib.configure.config import parse_args


@command()
def main(arguments: Sequence[str]) -> None:
    cfg = parse_args(arguments, called_as("train"))
    # PyTorch is imported only after the flags are checked.
    with loading():
        from dlib.learning.evaluate_only import evaluate_only
        from dlib.learning.experiment import run
        from dlib.utils.signals import Interrupted

    try:
        evaluate_only(cfg) if cfg.eval_only else run(cfg)
    except Interrupted as reason:
        if os.environ.get("RANK", "0") == "0":
            print(f"stopped by {reason}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
