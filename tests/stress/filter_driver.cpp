// Runs the filters of many shapes with several threads and callers, for sanitizers and compilers; fails if threads
// matter. Prints a digest of all results.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <stdexcept>
#include <thread>

#include "filter.hpp"

namespace {

using Floats = std::vector<float>;

Floats random_floats(std::size_t n, float most, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(0, most);
  Floats result(n);
  for (float& x : result) x = uniform(random);
  return result;
}

Floats filtered(const crf::Shape& shape, std::ptrdiff_t n, const Floats& images, const Floats& ins, int threads) {
  Floats outs(ins.size());
  crf::filter_batch(shape, {images.data(), ins.data(), outs.data()}, n, threads);
  return outs;
}

std::uint64_t digest = 0xCBF29CE484222325ull;  // FNV-1a over the results' bits

void add_to_digest(const Floats& values) {
  for (float value : values) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    digest = (digest ^ bits) * 0x100000001B3ull;
  }
}

int check(const crf::Shape& shape, std::ptrdiff_t n) {
  const auto size = [&](int planes) { return static_cast<std::size_t>(n * planes * shape.pixels()); };
  const Floats images = random_floats(size(shape.planes), 255, 1), ins = random_floats(size(shape.channels), 1, 2);
  const Floats want = filtered(shape, n, images, ins, 1);
  add_to_digest(want);
  int wrong = 0;
  for (int threads : {2, 3}) wrong += filtered(shape, n, images, ins, threads) != want;
  int of_others = 0;
  std::thread other([&] { of_others = filtered(shape, n, images, ins, 2) != want; });
  wrong += filtered(shape, n, images, ins, 2) != want;
  other.join();
  wrong += of_others;
  for (float x : want) wrong += !std::isfinite(x);
  Floats broken = images;
  broken.back() = std::nanf("");
  try {
    filtered(shape, n, broken, ins, 3);
    ++wrong;
  } catch (const std::invalid_argument&) {
  }
  if (wrong != 0) std::printf("wrong: %d planes, %d channels\n", shape.planes, shape.channels);
  return wrong;
}

}  // namespace

int main() {
  int wrong = 0;
  for (int planes : {1, 3, 16})
    for (int channels : {2, 5}) {
      wrong += check({planes, channels, 1, 1, false, 15, 0}, 2);
      wrong += check({planes, channels, 83, 251, false, 15, 0}, 3);
    }
  for (int channels : {1, 2}) {
    wrong += check({3, channels, 1, 7, true, 15, 100}, 3);
    wrong += check({3, channels, 182, 101, true, 15, 100}, 3);
    wrong += check({3, channels, 40, 40, true, 0.5, 3}, 1);
  }
  std::printf("%s: %d wrong, digest %016llx\n", crf::best_kernels().name, wrong,
              static_cast<unsigned long long>(digest));
  return wrong == 0 ? 0 : 1;
}
