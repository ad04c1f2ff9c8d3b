// Memory of one image's lattice and of one thread; kept between calls.
#pragma once

#include <cstdint>
#include <vector>

#include "key_table.hpp"
#include "plan.hpp"

namespace crf {

// Row of a simplex: one weight or value per corner, padded to whole vectors.
inline int row_length(int d) { return d == 3 ? 4 : (d + 8) / 8 * 8; }

// Makes room for n elements without giving any back: vectors are longer than what is used of them.
template <typename T>
void grow(std::vector<T>& memory, std::size_t n) {
  if (memory.size() < n) memory.resize(n + n / 2);
}

// A run of consecutive pixels with a lattice of its own. Runs depend on the image's size alone, and their
// sums are joined in order: that is why the number of threads cannot change a result.
struct Run {
  std::ptrdiff_t frame, begin, count;  // image of the batch, its pixels
  int simplices;
  std::vector<float> weights;  // [count][row] barycentric weights, corner r of remainder r
  std::vector<int> simplex;    // [count] number of the pixel's simplex
  std::vector<int> corners;    // [simplices][d + 1] number of the vertex in this run, then in the image
  KeyTable vertices;
  std::vector<double> sums;  // [vertices][K] splatted values
  std::vector<int> joined;   // [vertices] number in the image
};

struct Scratch {
  KeyTable simplices;
  std::vector<float> rows;  // [simplices][K][row]
  std::vector<int> filled;  // [simplices] pixels summed in the simplex' row since it was emptied
};

struct Lattice {
  std::vector<Run> runs;
  KeyTable vertices;
  std::vector<double> sums;            // [vertices][K]
  std::vector<int> before, after;      // [d + 1][vertices] 1 + number of the neighbour along an axis, 0: none
  std::vector<float> values, blurred;  // [1 + vertices][K], entry 0 is the missing neighbour's zero
};

// Loops over pixels, compiled once per instruction set.
struct Kernels {
  float (*largest)(const float* values, std::ptrdiff_t n);
  void (*splat)(const Plan& plan, const float* image, const float* in, Run& run, Scratch& scratch);
  void (*slice)(const Plan& plan, const float* values, float* out, const Run& run, Scratch& scratch);
  const char* name;
};

}  // namespace crf
