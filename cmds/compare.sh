#!/usr/bin/env bash
# Compares CAM methods, and CoLo-CAM seeded by LayerCAM at the end, in one table (Markdown and CSV).
#
#   bash cmds/compare.sh DATASET ENCODER [METHOD ...] [-- more flags of main.py for every run]
#
# METHOD    CAM GradCam GradCAMpp SmoothGradCAMpp XGradCAM LayerCAM ScoreCAM SSCAM ISCAM WILDCAT GAP MaxPOL LogSumExp
#           CoLo-CAM (default: all of them)
# OUT, JOBS folder of the comparison (exps/compare/DATASET-ENCODER), runs at a time (1)
# STUDY     another study file than cmds/studies/compare.yaml, which holds lengths, rates and seeds
#
# One classifier is trained for each pooling head; the methods that share a head only read it out differently
# (cmds/std_cl.sh METHOD trains one for each method). Started again, it goes on where it was.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $# -lt 2 ]; then
  sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
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
