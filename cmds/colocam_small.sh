#!/usr/bin/env bash
# The recipe for a few to a hundred videos: trains a classifier, promotes it, and trains CoLo-CAM on it. doc/small_data.md
# says where the settings come from. If you start it again, it resumes. All results are in exps/small/.
#
#   bash cmds/colocam_small.sh ENCODER DATASET [SEED] [-- more flags of main.py for both runs]
#
#   bash cmds/colocam_small.sh mobilenet_v2 my-videos 0 -- --data_root DIR --metadata_root DIR
#
# Widths of filters are in pixels, for the crop of 112 that the recipe uses.
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
needs 2 "$@"
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
    echo "error: the seed must be a number, not '$seed'" >&2
    exit 2
    ;;
esac
exec .venv/bin/python -m dlib.pipeline --dataset "$dataset" --encoder_name "$encoder" --seed "$seed" --overlays 0 \
  --out "exps/small/$dataset-$encoder-seed_$seed" -- "$@"
