#!/usr/bin/env bash
# Builds the lattice core with the address and undefined-behaviour sanitizers, then with the thread sanitizer,
# and runs it over many shapes, threads and callers with every instruction set. CXX chooses the compiler.
set -euo pipefail
cd "$(dirname "$0")"
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
for sanitizers in address,undefined thread; do
  "${CXX:-c++}" -std=c++17 -O2 -g1 -ffp-contract=off -Wall -Wextra -fno-sanitize-recover=all "-fsanitize=$sanitizers" \
    -I../../dlib/crf/crfwrapper/core filter_driver.cpp -o "$build/driver" -pthread
  for isa in baseline avx2 widest; do
    echo "$sanitizers, $isa"
    CRF_ISA=$isa "$build/driver"
  done
done
