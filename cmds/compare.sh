#!/usr/bin/env bash
# Compares CAM methods, and CoLo-CAM with seeds from LayerCAM, in one table (Markdown and CSV).
#
#   bash cmds/compare.sh DATASET ENCODER [METHOD ...] [-- more flags of main.py for every run]
#
# METHOD    CAM GradCam GradCAMpp SmoothGradCAMpp XGradCAM LayerCAM ScoreCAM SSCAM ISCAM WILDCAT GAP MaxPOL LogSumExp
#           CoLo-CAM (default: all of them)
# OUT, JOBS folder of the comparison (exps/compare/DATASET-ENCODER), number of runs at the same time (1)
# STUDY     a study file instead of cmds/studies/compare.yaml, which sets lengths, rates and seeds
#
# It trains one classifier for each pooling head. Methods with the same head read maps out of the same classifier
# (cmds/std_cl.sh METHOD trains one for each method). If you start it again, it resumes.
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
needs 2 "$@"
bash cmds/setup.sh
dataset=$1 encoder=$2
shift 2
methods=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  methods+=("$1")
  shift
done
[ $# -eq 0 ] || shift
exec .venv/bin/python -m dlib.study "${STUDY:-cmds/studies/compare.yaml}" --jobs "${JOBS:-1}" \
  --out "${OUT:-exps/compare/$dataset-$encoder}" ${methods[@]+--only "${methods[@]}"} \
  -- --dataset "$dataset" --encoder_name "$encoder" "$@"
