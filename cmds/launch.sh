# shellcheck shell=bash
# Sourced by other scripts: how they say their usage and start main.py. They continue in the program's folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# needs COUNT "$@": ends with the comment at the head of the script, its usage, if there are fewer words than COUNT.
needs() {
  if [ $(($# - 1)) -lt "$1" ]; then
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "cmds/${0##*/}" >&2
    exit 2
  fi
}

# launch FLAG...: main.py with these flags, in NPROC processes on this machine.
launch() {
  bash cmds/setup.sh
  local nproc=${NPROC:-1}
  exec .venv/bin/torchrun --nnodes=1 --nproc_per_node="$nproc" --rdzv_backend=c10d --rdzv_endpoint=localhost:0 \
    main.py --local_world_size="$nproc" "$@"
}
