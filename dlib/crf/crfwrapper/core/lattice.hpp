// Memory of one image's lattice and of one thread; kept between calls.
#pragma once

#include <cstdint>
#include <vector>

#include "key_table.hpp"
#include "plan.hpp"

namespace crf {

template <typename T>
std::size_t bytes_of(const std::vector<T>& memory) {
  return memory.capacity() * sizeof(T);
}

// A run of consecutive pixels with its own lattice. Runs depend only on the image's size, and their
// sums are joined in order: that is why the number of threads cannot change a result.
struct Run {
  std::ptrdiff_t frame, begin, count;  // image of the batch, its pixels
  std::vector<float> weights;          // [blocks][d + 1][lanes] barycentric weights of the corners of remainder r
  // Numbers of vertices, first in this run, then in the image. Either of each base point by set of coordinates
  // ([bases][2^(d + 1)], -1: not met yet), or of each pixel ([count][d + 1]).
  std::vector<int> corners;
  std::vector<int> places;         // [blocks * lanes] entry of the pixel's base point in `corners`
  std::vector<std::uint8_t> sets;  // [blocks][d][lanes] of the corners of remainder 1 to d
  KeyTable vertices;
  std::vector<double> sums;  // [vertices or more][K] splatted values
  std::vector<int> joined;   // [1 + vertices] number in the image; entry 0 is for -1

  // Makes space for the pixels and forgets the vertices.
  void reset(const Plan& plan, int lanes, bool by_base) {
    const auto padded = static_cast<std::size_t>((count + lanes - 1) / lanes * lanes);
    const auto d = static_cast<std::size_t>(plan.d);
    weights.resize(padded * (d + 1));
    places.resize(by_base ? padded : 0);
    sets.resize(by_base ? padded * d : 0);
    corners.clear();
    if (!by_base) corners.resize(static_cast<std::size_t>(count) * (d + 1));
    vertices.reset();
    sums.clear();
  }

  std::size_t bytes() const {
    return bytes_of(weights) + bytes_of(corners) + bytes_of(places) + bytes_of(sets) + vertices.bytes() +
           bytes_of(sums) + bytes_of(joined);
  }
};

// Numbers of the base points that a run meets, from 0 in order.
class BaseTable {
 public:
  void reset(const Plan& plan) {
    for (std::uint32_t key : met_) numbers_[key] = -1;
    met_.clear();
    if (numbers_.size() < plan.direct) numbers_.resize(plan.direct, -1);
    hashed_.reset();
  }

  int size(const Plan& plan) const { return plan.direct > 0 ? static_cast<int>(met_.size()) : hashed_.size(); }

  // The number of the base point with this key; the size before if it is new.
  int insert(const Plan& plan, std::uint32_t low, std::uint32_t high) {
    if (plan.direct == 0) return hashed_.insert(low | static_cast<std::uint64_t>(high) << 32);
    int& number = numbers_[low];
    if (number < 0) {
      number = static_cast<int>(met_.size());
      met_.push_back(low);
    }
    return number;
  }

 private:
  std::vector<int> numbers_;  // of every possible key, -1: not met
  std::vector<std::uint32_t> met_;
  KeyTable hashed_;
};

struct Scratch {
  BaseTable bases;
  std::vector<std::uint64_t> points;  // [bases] their keys as vertices

  void reset(const Plan& plan) {
    bases.reset(plan);
    points.clear();
  }
};

struct Lattice {
  std::vector<Run> runs;
  KeyTable vertices;
  std::vector<double> sums;            // [vertices][K]
  std::vector<int> before, after;      // [d + 1][vertices] 1 + number of the neighbour along an axis, 0: none
  std::vector<float> values, blurred;  // [1 + vertices][K], entry 0 is the missing neighbour's zero

  std::size_t bytes() const {
    std::size_t total =
        vertices.bytes() + bytes_of(sums) + bytes_of(before) + bytes_of(after) + bytes_of(values) + bytes_of(blurred);
    for (const Run& run : runs) total += run.bytes();
    return total;
  }
};

// Largest absolute value, NaN or infinity if there is one, and whether there is a minus sign.
struct Extent {
  float largest;
  bool negative;
};

// Loops over pixels, compiled once per instruction set.
struct Kernels {
  Extent (*extent)(const float* values, std::ptrdiff_t n);
  void (*splat)(const Plan& plan, const float* image, const float* in, Run& run, Scratch& scratch);
  void (*slice)(const Plan& plan, const float* values, float* out, const Run& run);
  const char* name;
};

}  // namespace crf
