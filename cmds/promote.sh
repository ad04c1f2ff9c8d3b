#!/usr/bin/env bash
# Copies the best weights of a finished experiment to pretrained/, where CoLo-CAM looks for them.
#
#   bash cmds/promote.sh EXPERIMENT_FOLDER [PRETRAINED_FOLDER]
#
# Says of which epoch the weights are and what they reached on validation.
set -euo pipefail

fail() {
  echo "error: $1" >&2
  exit 1
}

# "epoch 9, validation CorLoc 43.3, accuracy 48.0" of the best weights by $1; a warning where they are untrained.
describe() {
  "$python" - "$experiment/results.json" "$1" <<'END'
import json, sys

path, criterion = sys.argv[1:]
try:
    with open(path, encoding="utf-8") as file:
        results = json.load(file)
    epoch = int(results["best"][criterion]["epoch"])
    report = results["val"][criterion]
    scores = [report["headline"], report["classification"]]
except (OSError, ValueError, KeyError, TypeError):
    print(": its results.json does not say of which epoch")
    sys.exit()
text = ["\N{EN DASH}" if score is None else f"{score:.1f}" for score in scores]
print(f": epoch {epoch}, validation CorLoc {text[0]} %, accuracy {text[1]} %")
if epoch == 0:
    print(
        f"warning: these weights by {criterion.removeprefix('best_')} are from before training (epoch 0). Maps of an "
        "untrained network can localize by chance; seeds from the other weights: --colocam_pretrained_seeder_ch_pt "
        "best_classification, or train again with --best_start_ep 1",
        file=sys.stderr,
    )
END
}

[ $# -ge 1 ] || fail "usage: bash cmds/promote.sh EXPERIMENT_FOLDER [PRETRAINED_FOLDER]"
experiment=${1%/}
python=$(dirname "${BASH_SOURCE[0]}")/../.venv/bin/python
[ -x "$python" ] || python=python3
export PYTHONIOENCODING=utf-8:replace
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
  criterion=${name##*-cp_}
  echo "promoted $target/$name$(describe "${criterion%%-boxv2_*}")"
done
[ "$found" = 1 ] || fail "$experiment has no best weights (folders named *-cp_best_*)"
