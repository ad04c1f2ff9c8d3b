#!/usr/bin/env bash
# Copies the best weights of a finished experiment to pretrained/, where the other tasks look for them.
#
#   bash cmds/promote.sh EXPERIMENT_FOLDER [PRETRAINED_FOLDER]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ $# -lt 1 ]; then
  sed -n '2,4s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
python=$root/.venv/bin/python
[ -x "$python" ] || python=python3
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$python" -m dlib.promote "$1" "${2:-$root/pretrained}"
