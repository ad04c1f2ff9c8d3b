#!/usr/bin/env bash
# Trains F-CAM on a promoted classifier. There are no published settings for videos: these are ours (doc/method.md).
#
#   bash cmds/fcam.sh ENCODER DATASET [more flags of main.py]
#
# The classifier must be in pretrained/ (bash cmds/promote.sh EXPERIMENT_FOLDER). It must be trained with LayerCAM; for
# another method give --method.
# NPROC  processes on this machine, one per card (default 1)
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
needs 2 "$@"
encoder=$1 dataset=$2
shift 2
launch \
  --task F_CL --encoder_name "$encoder" --opt__name_optimizer sgd --dist_backend gloo --batch_size 32 \
  --max_epochs 100 --checkpoint_save 100 --keep_last_n_checkpoints 10 --freeze_cl True --support_background True \
  --method LayerCAM --dataset "$dataset" --box_v2_metric False --amp True --opt__lr 0.01 --opt__step_size 15 \
  --opt__gamma 0.9 --opt__weight_decay 0.0001 --elb_init_t 1.0 --elb_max_t 10.0 --elb_mulcoef 1.01 \
  --sl_fc True --sl_fc_lambda 1.0 --sl_min 1 --sl_max 1 --sl_ksz 3 --sl_min_p 0.1 --sl_fg_erode_k 11 \
  --sl_fg_erode_iter 1 --crf_fc True --crf_lambda 2e-09 --crf_sigma_rgb 15.0 --crf_sigma_xy 100.0 \
  --max_sizepos_fc True --max_sizepos_fc_lambda 0.01 "$@"
