#!/usr/bin/env bash
# Download YouTube-Objects v1.0, unpack it and write its folds; run it again to go on after an interruption.
#   bash cmds/download-YouTube-Objects-v1.0.sh [--data_root DIR] [--classes cat,dog] [--delete_archives] [--help]
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] || bash cmds/setup.sh
exec .venv/bin/python -m dlib.datasets.download YouTube-Objects-v1.0 "$@"
