#!/usr/bin/env bash
# Runs the tests, in two processes of one thread each. Arguments go to pytest:
#
#   bash cmds/test.sh tests/test_metrics_boxes.py -k iou
#   TEST_PROCESSES=8 bash cmds/test.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash cmds/setup.sh --test
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec .venv/bin/python -m pytest -n "${TEST_PROCESSES:-2}" --dist worksteal "$@"
