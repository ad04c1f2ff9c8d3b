#!/usr/bin/env bash
# One run on two machines (nodes), with one process per card on each. Start it on both machines:
#
#   on the first:   bash cmds/two_nodes.sh 0 FIRST_MACHINE [flags of main.py]
#   on the second:  bash cmds/two_nodes.sh 1 FIRST_MACHINE [flags of main.py]
#
# FIRST_MACHINE   host name or address of the first machine; the second machine must reach it at PORT (29500)
# NPROC           processes on each machine, one per card (1)
# BACKEND         nccl for CUDA, gloo for CPUs (nccl)
#
# Both machines need the same program, the same flags, and the same data at the same paths. --exps_root,
# --pretrained_root and --cams_root must be on a disk that both machines share. --batch_size is per process.
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
needs 2 "$@"
node=$1 first=$2
shift 2
nproc=${NPROC:-1}
exec .venv/bin/torchrun --nnodes=2 --node_rank="$node" --nproc_per_node="$nproc" \
  --master_addr="$first" --master_port="${PORT:-29500}" \
  main.py --local_world_size="$nproc" --dist_backend "${BACKEND:-nccl}" "$@"
