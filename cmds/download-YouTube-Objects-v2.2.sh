#!/usr/bin/env bash
# Downloads YouTube-Objects v2.2, unpacks it and writes its folds. After an interruption, run it again: it resumes.
#   bash cmds/download-YouTube-Objects-v2.2.sh [--data_root DIR] [--classes cat,dog] [--delete_archives] [--help]
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] || bash cmds/setup.sh
exec .venv/bin/python -m dlib.datasets.download YouTube-Objects-v2.2 "$@"
