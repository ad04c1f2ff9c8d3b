#!/usr/bin/env bash
# Makes .venv with the program, its packages and its extensions. If nothing has changed, it does nothing.
#
#   bash cmds/setup.sh          to run the program
#   bash cmds/setup.sh --test   to run the tests too
#
# PYTHON names an interpreter to use instead of python3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  echo "error: $1" >&2
  exit 1
}

requirements=dependencies/requirements.txt
kind=run
if [ "${1:-}" = --test ]; then
  requirements=dependencies/requirements-test.txt
  kind=test
fi

python=${PYTHON:-$(command -v python3.11 || command -v python3 || true)}
[ -n "$python" ] || fail "python3 was not found: install Python 3.10 or newer, or name one with PYTHON=..."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
  || fail "$("$python" --version) is too old: install Python 3.10 or newer, or name one with PYTHON=..."
command -v "${CXX:-c++}" >/dev/null \
  || fail "no C++ compiler was found: install one (Debian and Ubuntu: apt install g++), or name it with CXX=..."

# The extensions are built from these files. All other files of the program are used in their place.
wanted=$(
  {
    "$python" -VV
    cat "$requirements" dependencies/*.txt setup.py pyproject.toml
    find dlib/crf/crfwrapper dlib/datasets/resizewindow -type f \( -name '*.i' -o -name '*.inc' -o -name '*.hpp' -o -name '*.cpp' \) \
      ! -name '*_wrap.*' -print0 | sort -z | xargs -0 cat
  } | cksum
)
stamp=.venv/set-up-$kind
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
  exit 0
fi

echo "set-up: making .venv (once; several GB of PyTorch and other packages)"
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$requirements" -c dependencies/constraints.txt
PATH="$PWD/.venv/bin:$PATH" .venv/bin/python -m pip install --quiet --disable-pip-version-check \
  --no-build-isolation --no-deps --editable .
echo "$wanted" >"$stamp"
echo "set-up: done"
