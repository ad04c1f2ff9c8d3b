"""CoLo-CAM: weakly supervised object localization in videos.

    python main.py --task STD_CL …              one process
    python main.py --task CoLo-CAM …
    torchrun --nnodes=1 --node_rank=0 --nproc_per_node=2 --master_port=29500 main.py --local_world_size=2 …
    python main.py --help                       all flags; doc/flags.md says the same

Exit codes: 0 done; 1 data, paths or checkpoints need a fix; 2 flags need a fix.
"""

from __future__ import annotations

import sys

from dlib.utils.errors import missing_package

try:
    from dlib.train import main
except ModuleNotFoundError as error:
    sys.exit(f"error: {missing_package(error)}")

if __name__ == "__main__":
    sys.exit(main())
