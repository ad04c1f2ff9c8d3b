#!/usr/bin/env bash
# Copies the best weights of a finished experiment to pretrained/, where CoLo-CAM looks for them.
#
#   bash cmds/promote.sh EXPERIMENT_FOLDER [PRETRAINED_FOLDER]
set -euo pipefail

fail() {
  echo "promote: $1" >&2
  exit 1
}

[ $# -ge 1 ] || fail "usage: bash cmds/promote.sh EXPERIMENT_FOLDER [PRETRAINED_FOLDER]"
experiment=${1%/}
target=${2:-$(dirname "${BASH_SOURCE[0]}")/../pretrained}
[ -d "$experiment" ] || fail "$experiment: no such folder"
[ -f "$experiment/passed.txt" ] || fail "$experiment is not finished (no passed.txt): start its command again first"

mkdir -p "$target"
found=0
for folder in "$experiment"/*-cp_best_*-boxv2_*/; do
  [ -d "$folder" ] || continue
  found=1
  name=$(basename "$folder")
  # An earlier version of the program wrote GradCAM.
  name=${name/-GradCAM-WGAP-cp_/-GradCam-WGAP-cp_}
  # The new folder is complete before the old one is removed.
  rm -rf "$target/.$name.new"
  mkdir "$target/.$name.new"
  cp "$folder"*_best_model.pth "$folder"config_model.yaml "$target/.$name.new/"
  rm -rf "${target:?}/$name"
  mv "$target/.$name.new" "$target/$name"
  echo "promoted $target/$name"
done
[ "$found" = 1 ] || fail "$experiment has no best weights (folders named *-cp_best_*)"
