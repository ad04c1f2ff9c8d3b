#!/usr/bin/env bash
# Trains an image classifier whose CAMs localize (a CAM baseline), with the paper's settings.
#
#   bash cmds/std_cl.sh METHOD ENCODER DATASET [more flags of main.py]
#
# METHOD    CAM GradCam GradCAMpp SmoothGradCAMpp XGradCAM LayerCAM ScoreCAM SSCAM ISCAM WILDCAT GAP MaxPOL LogSumExp
# ENCODER   resnet50 vgg16 inceptionv3 resnet18 mobilenet_v2 vit_b_16 swin_t
# DATASET   YouTube-Objects-v1.0 YouTube-Objects-v2.2, or your own
# NPROC     processes on this machine, one per card (default 1)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $# -lt 3 ]; then
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
bash cmds/setup.sh
method=$1 encoder=$2 dataset=$3
shift 3
nproc=${NPROC:-1}
exec .venv/bin/torchrun --nnodes=1 --nproc_per_node="$nproc" --rdzv_backend=c10d --rdzv_endpoint=localhost:0 \
  main.py --local_world_size="$nproc" \
  --task STD_CL --encoder_name "$encoder" --opt__name_optimizer sgd --dist_backend gloo \
  --batch_size 32 --max_epochs 100 --checkpoint_save 100 --keep_last_n_checkpoints 10 --freeze_cl False \
  --freeze_encoder False --support_background True --method "$method" --dataset "$dataset" \
  --box_v2_metric False --amp True --opt__lr 0.001 --opt__step_size 15 --opt__gamma 0.9 \
  --opt__weight_decay 0.0001 --sample_fr_limit 0.6 "$@"
