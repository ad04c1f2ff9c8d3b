"""CoLo-CAM: weakly supervised object localization in videos.

    torchrun --nnodes=1 --node_rank=0 --nproc_per_node=1 --master_port=29500 main.py --task STD_CL …
    torchrun --nnodes=1 --node_rank=0 --nproc_per_node=1 --master_port=29500 main.py --task CoLo-CAM …
    python main.py …                            the same as one process
    python main.py --help                       all flags; doc/flags.md says the same

Exit codes: 0 done, 1 something about data, paths or checkpoints to mend, 2 something about flags.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from dlib.configure.config import parse_args
from dlib.utils.errors import UsageError, UserError
from dlib.utils.screen import make_screen_safe


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    make_screen_safe()
    rank = os.environ.get("RANK", "0")
    try:
        cfg = parse_args(sys.argv[1:] if argv is None else argv)
        # PyTorch is imported only once the flags are known to be right.
        from dlib.learning.evaluate_only import evaluate_only
        from dlib.learning.experiment import run
        from dlib.utils.signals import Interrupted

        try:
            evaluate_only(cfg) if cfg.eval_only else run(cfg)
        except Interrupted as reason:
            if rank == "0":
                print(f"stopped by {reason}", file=sys.stderr)
        return 0
    except UserError as error:
        # Every process sees the same flags; other faults may be this process's alone.
        if rank == "0" or not isinstance(error, UsageError):
            print(f"error{'' if rank == '0' else f' (process {rank})'}: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        # Disks fill up, and network file systems go away, under any line that writes.
        print(
            f"error (process {rank}): {error.filename or 'a file'}: {error.strerror or error}",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
