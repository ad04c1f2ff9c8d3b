#!/usr/bin/env bash
# Runs the tests. Arguments go to pytest: bash cmds/test.sh tests/test_metrics_boxes.py -k iou
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash cmds/setup.sh --test
exec .venv/bin/python -m pytest "$@"
