#!/usr/bin/env bash
# The whole method on the project's own data, on a CPU, in about ten minutes: makes videos, trains a classifier, trains
# CoLo-CAM on it, and ends with a table of test CorLoc.
#
#   bash cmds/demo.sh [SEED]
#
# All results are in exps/demo/seed_<SEED>/. If you start it again, it resumes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash cmds/setup.sh

seed=${1:-0}
case $seed in
  '' | *[!0-9]*)
    echo "error: the seed must be a number, not '$seed'" >&2
    exit 2
    ;;
esac
root=exps/demo/seed_$seed
python=.venv/bin/python

if [ ! -f exps/demo/folds/synthetic/test/localization.txt ]; then
  $python -m dlib.datasets.synthetic --dst exps/demo/original --seed 0
  $python -m dlib.datasets._video_ds_ytov1_0 --src exps/demo/original --dst exps/demo/data/synthetic \
    --metadata exps/demo/folds/synthetic
fi

# Sizes, lengths and seeds are for a small network on a CPU and 200 short train videos. The paper's own settings are in
# std_cl.sh and colocam.sh. The seeds come from the weights that classify best: here the weights that localize best are
# those that have learned least (doc/demo.md).
common=(--dataset synthetic --data_root exps/demo/data --metadata_root exps/demo/folds --num_workers 1
  --encoder_name resnet18 --encoder_weights None --method LayerCAM --crop_size 96 --resize_size 110
  --exp_id demo --MYSEED "$seed" --exps_root "$root" --pretrained_root "$root/pretrained"
  --cams_root "$root/data_cams")

$python main.py --task STD_CL "${common[@]}" --batch_size 16 --max_epochs 10 --opt__name_optimizer adam \
  --opt__lr 0.001 --opt__lr_classifier_ratio 1 --opt__name_lr_scheduler cosine --opt__t_max 10

classifier=$(echo "$root"/synthetic/resnet18/STD_CL/LayerCAM/id_demo-*)
bash cmds/promote.sh "$classifier" "$root/pretrained"

$python main.py --task CoLo-CAM "${common[@]}" --batch_size 32 --max_epochs 3 --freeze_cl True --best_start_ep 1 \
  --opt__lr 0.01 --opt__step_size 5 --opt__gamma 0.9 --sample_n_from_seq 2 --sample_n_from_seq_style before \
  --sl_clc True --sl_clc_min 184 --sl_clc_max 184 --sl_clc_min_p 0.3 --sl_clc_max_p 0.5 --sl_clc_balance True \
  --sl_clc_seed_tech seed_weighted --sl_clc_use_roi True --sl_clc_roi_method largest --sl_clc_roi_mask region \
  --crf_clc True --rgb_jcrf_clc True --rgb_jcrf_clc_lambda 0.3 --rgb_jcrf_clc_lambda_style adaptive \
  --max_sizepos_clc True --max_sizepos_clc_lambda 0.01 --colocam_pretrained_seeder_ch_pt best_classification \
  --map_refine_sigma_xy 12

colocam=$(echo "$root"/synthetic/resnet18/CoLo-CAM/LayerCAM/id_demo-*)
$python -m dlib.compare "$classifier" "$colocam" --out "$root/compare.html" >/dev/null
echo
$python -m dlib.study.gain "$colocam"
echo
echo "both side by side: $root/compare.html"
echo "report of CoLo-CAM: $colocam/report.html"
