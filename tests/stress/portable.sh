#!/usr/bin/env bash
# Builds the lattice core with every compiler of the machine, GCC and clang for this processor and GCC for aarch64
# (run by qemu-aarch64), as the extensions are built, and runs it with every instruction set. All must give the same
# bits. On Debian: apt install g++ clang g++-aarch64-linux-gnu qemu-user
set -euo pipefail
cd "$(dirname "$0")"
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
flags=(-std=c++17 -O3 -ffp-contract=off -Wall -Wextra -Werror -pthread -static
  -I../../dlib/crf/crfwrapper/core filter_driver.cpp -o "$build/driver")

report() { # COMPILER RUNNER...: one line for each instruction set
  local compiler=$1 isa
  shift
  "$compiler" "${flags[@]}"
  for isa in baseline avx2 widest; do
    echo "$("$compiler" -dumpmachine), $(basename "$compiler") $("$compiler" -dumpversion): $(CRF_ISA=$isa "$@" "$build/driver")"
    [[ $("$compiler" -dumpmachine) == x86_64* ]] || break
  done
}

{
  for compiler in g++ $(compgen -c clang++ | sort -u | head -n 1); do
    if command -v "$compiler" > /dev/null; then report "$compiler" env; fi
  done
  if command -v aarch64-linux-gnu-g++ > /dev/null && command -v qemu-aarch64 > /dev/null; then
    report aarch64-linux-gnu-g++ qemu-aarch64
  fi
} | tee "$build/report"
if [ "$(sed 's/.*digest //' "$build/report" | sort -u | wc -l)" != 1 ]; then
  echo "portable: the digests differ" >&2
  exit 1
fi
