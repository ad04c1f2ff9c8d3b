#!/usr/bin/env bash
# Builds the lattice core with the address and undefined-behaviour sanitizers, then with the thread sanitizer,
# and runs it over many shapes, threads and callers with every instruction set. Then builds all extensions with the
# first two sanitizers, beside the checkout, and calls them from Python with right and wrong arguments.
# CXX chooses the compiler (the extensions' part wants GCC, whose run-time libraries it loads first).
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

root=$(cd ../.. && pwd)
python=$root/.venv/bin/python
mkdir -p "$build/source/dlib/crf" "$build/source/dlib/datasets" "$build/tests"
cp -r "$root/dependencies" "$build/source"
cp -r "$root/dlib/crf/crfwrapper" "$build/source/dlib/crf"
cp -r "$root/dlib/datasets/resizewindow" "$build/source/dlib/datasets"
cp -r "$root/tests/conftest.py" "$root/tests/helpers" "$root/tests/test_crf_arguments.py" \
  "$root/tests/test_datasets_resizing.py" "$build/tests"
sed 's/"-O3"/"-O1"/' "$root/setup.py" > "$build/source/setup.py" # the same code, minutes less to compile
flags="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g1"
(cd "$build/source" && CFLAGS=$flags CXXFLAGS=$flags LDFLAGS=$flags \
  "$python" setup.py -q build_ext --build-lib "$build/lib" --build-temp "$build/objects" > "$build/log" 2>&1) ||
  { cat "$build/log"; exit 1; }
runtime() { "${CXX:-c++}" -print-file-name="$1"; }
# Away from the checkout, whose own builds would be found first.
cd "$build/tests"
# Python itself is built without sanitizers: their run-time library must be there before it. Python, NumPy and PyTorch
# keep memory until they end, so that leaks are not looked for.
sanitized() {
  LD_PRELOAD="$(runtime libasan.so) $(runtime libstdc++.so)" ASAN_OPTIONS=detect_leaks=0 \
    UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH="$build/lib:$root" OMP_NUM_THREADS=1 "$python" "$@"
}
for module in bilateralfilter colorbilateralfilter resizewindow; do
  echo "address,undefined, $module"
  nm -D "$build"/lib/$module.*.so | grep -c __asan_report > "$build/log"
  sanitized -c "import $module as m; assert m.__file__.startswith('$build/lib/'), m.__file__"
done
sanitized -m pytest -q -p no:cacheprovider test_crf_arguments.py test_datasets_resizing.py
