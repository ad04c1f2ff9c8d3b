#!/usr/bin/env bash
# Runs a study: every variant of a YAML file with every seed. At the end it writes one table; choose by validation.
# doc/studies.md describes the file. If you start it again, it resumes.
#
#   bash cmds/ablation.sh STUDY.yaml [--out DIR] [--jobs N] [--only NAME ...] [-- more flags of main.py for every run]
#
#   bash cmds/ablation.sh cmds/studies/small_data.yaml -- --dataset NAME --data_root DIR --metadata_root DIR
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ $# -lt 1 ] || [ ! -f "$1" ]; then
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
bash "$root/cmds/setup.sh"
study=$(realpath "$1")
shift
cd "$root"
exec .venv/bin/python -m dlib.study "$study" "$@"
