#!/usr/bin/env bash
# Trains an image classifier whose CAMs localize (a CAM baseline), with the paper's settings.
#
#   bash cmds/std_cl.sh METHOD ENCODER DATASET [more flags of main.py]
#
# METHOD    CAM GradCam GradCAMpp SmoothGradCAMpp XGradCAM LayerCAM ScoreCAM SSCAM ISCAM WILDCAT GAP MaxPOL LogSumExp
# ENCODER   resnet50 vgg16 inceptionv3 resnet18 mobilenet_v2 vit_b_16 swin_t
# DATASET   YouTube-Objects-v1.0 YouTube-Objects-v2.2, or your own
# NPROC     processes on this machine, one per card (default 1)
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
needs 3 "$@"
method=$1 encoder=$2 dataset=$3
shift 3
launch \
  --task STD_CL --encoder_name "$encoder" --opt__name_optimizer sgd --dist_backend gloo \
  --batch_size 32 --max_epochs 100 --checkpoint_save 100 --keep_last_n_checkpoints 10 --freeze_cl False \
  --freeze_encoder False --support_background True --method "$method" --dataset "$dataset" \
  --box_v2_metric False --amp True --opt__lr 0.001 --opt__step_size 15 --opt__gamma 0.9 \
  --opt__weight_decay 0.0001 --sample_fr_limit 0.6 "$@"
