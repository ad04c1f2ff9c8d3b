"""CoLo-CAM: weakly supervised object localization in videos.

    torchrun --nnodes=1 --node_rank=0 --nproc_per_node=1 --master_port=29500 main.py --task STD_CL …
    torchrun --nnodes=1 --node_rank=0 --nproc_per_node=1 --master_port=29500 main.py --task CoLo-CAM …
    python main.py …                            the same as one process
    python main.py --help                       all flags; doc/flags.md says the same

Exit codes: 0 done; 1 data, paths or checkpoints need a fix; 2 flags need a fix.
"""

from __future__ import annotations

import sys

from dlib.train import main

if __name__ == "__main__":
    sys.exit(main())
