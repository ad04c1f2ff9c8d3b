#!/usr/bin/env bash
# The recipe for ten to a hundred videos: trains a classifier, promotes it, and trains CoLo-CAM on it. doc/small_data.md
# says where the settings come from. If you start it again, it resumes.
#
#   bash cmds/colocam_small.sh ENCODER DATASET [SEED] [-- more flags of main.py for both runs]
#
#   bash cmds/colocam_small.sh mobilenet_v2 my-videos 0 -- --data_root DIR --metadata_root DIR
#
# Widths of filters are in pixels, for the crop of 112 that the script uses.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $# -lt 2 ]; then
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
bash cmds/setup.sh
encoder=$1 dataset=$2 seed=0
shift 2
if [ $# -gt 0 ] && [ "$1" != -- ]; then
  seed=$1
  shift
fi
[ $# -eq 0 ] || shift
case $seed in
  '' | *[!0-9]*)
    echo "colocam_small: the seed must be a number, not '$seed'" >&2
    exit 2
    ;;
esac
python=.venv/bin/python
pretrained=pretrained/small/$dataset-$encoder-seed_$seed
common=(--dataset "$dataset" --encoder_name "$encoder" --method LayerCAM --crop_size 112 --resize_size 128
  --num_workers 1 --opt__name_optimizer sgd --opt__gamma 0.9 --opt__weight_decay 0.0001 --sample_fr_limit 0.6
  --amp True --exp_id small --MYSEED "$seed" --cams_root "data_cams/small-$dataset-$encoder-seed_$seed")
runs=exps/$dataset/$encoder

$python main.py --task STD_CL "${common[@]}" --batch_size 32 --max_epochs 20 --min_steps 80 --opt__lr 0.001 --opt__step_size 15 "$@"

classifier=$(echo "$runs"/STD_CL/LayerCAM/id_small-*-sd_"$seed"-*)
bash cmds/promote.sh "$classifier" "$pretrained"

$python main.py --task CoLo-CAM "${common[@]}" --pretrained_root "$pretrained" --freeze_cl True --batch_size 8 \
  --max_epochs 5 --min_steps 135 --opt__lr 0.01 --opt__step_size 5 --best_start_ep 1 --ema_decay 0.95 \
  --aug_color 0.4 --aug_scale_min 0.35 --sample_n_from_seq 2 --sample_n_from_seq_style before \
  --soft_cam_clc True --seed_refine_sigma_xy 10 --crf_clc True --crf_clc_sigma_xy 50 \
  --rgb_jcrf_clc True --rgb_jcrf_clc_lambda 0.1 --rgb_jcrf_clc_lambda_style adaptive \
  --max_sizepos_clc True --max_sizepos_clc_lambda 0.01 --map_refine_sigma_xy 8 "$@"

colocam=$(echo "$runs"/CoLo-CAM/LayerCAM/id_small-*-sd_"$seed"-*)
echo
$python -m dlib.study.gain "$colocam"
echo
echo "report of CoLo-CAM: $colocam/report.html"
