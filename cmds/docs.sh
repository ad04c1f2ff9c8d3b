#!/usr/bin/env bash
# Builds the documentation as a site in build/site; a warning is an error. It runs the notebook of the tutorial too.
#
#   bash cmds/docs.sh                      a minute or two; open build/site/index.html
#   bash cmds/docs.sh serve                a server whose pages follow your changes, and whose search works
#   RUN_NOTEBOOK=false bash cmds/docs.sh   seconds: the notebook's page has no outputs, as with serve
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash cmds/setup.sh --test
command=${1:-build}
[ "$command" != serve ] || export RUN_NOTEBOOK=false
exec .venv/bin/mkdocs "$command" --strict "${@:2}"
