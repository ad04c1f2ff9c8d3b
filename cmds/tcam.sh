#!/usr/bin/env bash
# Trains TCAM on a promoted classifier, with the settings of the published command line.
#
#   bash cmds/tcam.sh ENCODER DATASET [more flags of main.py]
#
# The classifier must be in pretrained/ (bash cmds/promote.sh EXPERIMENT_FOLDER). It must be trained with LayerCAM, as
# for the paper's table; the published command line has CAM: give --method CAM for that. There are no published settings
# for YouTube-Objects-v2.2: these are those of v1.0.
# NPROC  processes on this machine, one per card (default 1)
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
needs 2 "$@"
encoder=$1 dataset=$2
shift 2
launch \
  --task TCAM --encoder_name "$encoder" --opt__name_optimizer sgd --dist_backend gloo --batch_size 32 \
  --max_epochs 100 --checkpoint_save 100 --keep_last_n_checkpoints 10 --freeze_cl True --support_background True \
  --method LayerCAM --dataset "$dataset" --box_v2_metric False --amp True --opt__lr 0.01 --opt__step_size 15 \
  --opt__gamma 0.9 --opt__weight_decay 0.0001 --elb_init_t 1.0 --elb_max_t 10.0 --elb_mulcoef 1.01 \
  --sl_tc True --sl_tc_knn 1 --sl_tc_knn_mode before --sl_tc_lambda 1.0 --sl_tc_min 1 --sl_tc_max 1 --sl_tc_ksz 3 \
  --sl_tc_max_p 0.6 --sl_tc_min_p 0.1 --sl_tc_seed_tech seed_weighted --sl_tc_use_roi True \
  --sl_tc_roi_method roi_all --sl_tc_roi_min_size 0.05 --crf_tc True --crf_tc_lambda 2e-09 \
  --crf_tc_sigma_rgb 15.0 --crf_tc_sigma_xy 100.0 --max_sizepos_tc True --max_sizepos_tc_lambda 0.01 "$@"
