#!/usr/bin/env bash
# Trains CoLo-CAM on a promoted classifier, with the settings of the published command line.
#
#   bash cmds/colocam.sh ENCODER DATASET [more flags of main.py]
#
# The classifier must be in pretrained/ (bash cmds/promote.sh EXPERIMENT_FOLDER). It must be trained with LayerCAM; for
# another method give --method. Counts of seeds are for a crop of 224: scale them with the crop's area.
# NPROC     processes on this machine, one per card (default 1)
# SETTINGS  published: 2 frames of a shot, λ 9 (default); best: 4 frames, λ 4, as the paper's best run on v1.0
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
needs 2 "$@"
case ${SETTINGS:-published} in
  published) frames=2 lambda=9.0 ;;
  best) frames=4 lambda=4.0 ;;
  *)
    echo "error: SETTINGS must be published or best, not '$SETTINGS'" >&2
    exit 2
    ;;
esac
encoder=$1 dataset=$2
shift 2
launch \
  --task CoLo-CAM --encoder_name "$encoder" --opt__name_optimizer sgd --dist_backend gloo --batch_size 32 \
  --max_epochs 10 --checkpoint_save 100 --keep_last_n_checkpoints 10 --freeze_cl True --support_background True \
  --method LayerCAM --dataset "$dataset" --box_v2_metric False --amp True --opt__lr 0.01 --opt__step_size 5 \
  --opt__gamma 0.9 --opt__weight_decay 0.0001 --sample_fr_limit 0.6 --elb_init_t 1.0 --elb_max_t 10.0 \
  --elb_mulcoef 1.01 --sample_n_from_seq "$frames" --sample_n_from_seq_style before --sample_n_from_seq_dist uniform \
  --sl_clc True --sl_clc_lambda 1.0 --sl_clc_min 1000 --sl_clc_max 1000 --sl_clc_ksz 3 --sl_clc_max_p 0.7 \
  --sl_clc_min_p 0.1 --sl_clc_seed_tech seed_weighted --sl_clc_use_roi True --sl_clc_roi_method largest \
  --sl_clc_roi_min_size 0.05 --crf_clc True --crf_clc_lambda 2e-09 --crf_clc_sigma_rgb 15.0 \
  --crf_clc_sigma_xy 100.0 --rgb_jcrf_clc True --rgb_jcrf_clc_lambda "$lambda" --rgb_jcrf_clc_lambda_style adaptive \
  --rgb_jcrf_clc_sigma_rgb 15.0 --rgb_jcrf_clc_input_data image --max_sizepos_clc True \
  --max_sizepos_clc_lambda 0.01 "$@"
