// What is known for one image before its pixels are read: feature scales and integer key layout.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace crf {

constexpr int kMaxDim = 256;         // most dimensions of the feature space
constexpr int kMaxSets = 5;          // most dimensions where a pixel's corners are packed into 32 bits
constexpr int kMaxChannels = 65536;  // most value channels

constexpr double kMostDirect = 1 << 16;  // most base points for a table with an entry for each

// Of a feature: its values lie from least to most.
struct Range {
  double least = 0, most = 0;
};

struct Shape {
  int planes;    // image planes
  int channels;  // value channels
  std::ptrdiff_t height, width;
  bool spatial;  // the features begin with x and y
  float sigma_colour, sigma_xy;

  int dim() const { return planes + (spatial ? 2 : 0); }
  std::ptrdiff_t pixels() const { return height * width; }
};

// Lattice of dimension d (Adams, Baek & Davis 2010, section 3). Coordinates of a lattice point are c_0 .. c_d;
// c_d follows from the others. A simplex is named by its base point (d + 1) * q, the one of remainder 0, and by
// the rank of each coordinate of the pixel inside it.
struct Plan {
  Shape shape;
  int d;
  std::vector<float> scale;  // [d] of raw feature (x, y, plane values) to elevated units
  // [d] key of a lattice point = sum of c_i * point[i] modulo 2^64. Mixed radix, thus exact, when the range of
  // the image fits 64 bits; else a linear hash, which gives two different points one key with negligible chance.
  std::vector<std::uint64_t> point;
  std::uint64_t point_sum = 0;
  // [2^(d + 1)] for d <= kMaxSets: difference of the keys of a simplex' corner and its base point, by the
  // set of the coordinates that have the highest ranks; bit i is for coordinate i.
  std::vector<std::uint64_t> step;
  // [d] the two halves of a base point's own key = sums of q_i * half[i] modulo 2^32, the low one less `origin`.
  std::vector<std::uint32_t> low, high;
  std::uint32_t origin = 0;
  std::size_t direct = 0;  // number of possible keys, each is below it; 0: too many for a table of all

  explicit Plan(const Shape& s) : shape(s), d(s.dim()) {
    const double deviation = std::sqrt(2.0 / 3.0) * (d + 1);
    for (int i = 0; i < d; ++i) {
      const double sigma = s.spatial && i < 2 ? s.sigma_xy : s.sigma_colour;
      scale.push_back(static_cast<float>(deviation / std::sqrt((i + 1.0) * (i + 2.0)) / sigma));
    }
  }

  // Sets the key layout for features within range[d]. Throws if keys leave the range of the arithmetic.
  void set_range(const std::vector<Range>& range) {
    Range tail;
    std::vector<double> radix(range.size());
    std::vector<Range> elevated(range.size());
    for (int i = d; i >= 0; --i) {
      const double factor = i > 0 ? double(scale[at(i - 1)]) : 0;
      const Range below = i > 0 ? range[at(i - 1)] : Range();
      const Range coordinate = {tail.least - i * factor * below.most, tail.most - i * factor * below.least};
      const double bound = std::max(std::fabs(coordinate.least), std::fabs(coordinate.most));
      // Float32 must still resolve a position inside its simplex.
      if (!(bound < 1e6)) throw std::invalid_argument("sigma is too small for the range of the image");
      if (i < d) {
        radix[at(i)] = 2 * (std::ceil(bound) + 4.0 * (d + 1)) + 1;
        elevated[at(i)] = coordinate;
      }
      tail.least += factor * below.least;
      tail.most += factor * below.most;
    }
    lay_out_points(radix);
    lay_out_bases(elevated);
  }

 private:
  static std::size_t at(int i) { return static_cast<std::size_t>(i); }

  void lay_out_points(const std::vector<double>& radix) {
    point.assign(at(d), 0);
    double size = 1;
    for (int i = 0; i < d; ++i) {
      point[at(i)] = size < 0x1p63 ? static_cast<std::uint64_t>(size) : 0;
      size *= radix[at(i)];
    }
    // A double holds the product of the radices exactly only below 2^53.
    if (size > 0x1p53) {
      std::uint64_t odd = 0x9E3779B97F4A7C15ull;
      for (auto& factor : point) {
        odd *= 0xD1342543DE82EF95ull;
        factor = (odd ^ (odd >> 29)) | 1;
      }
    }
    point_sum = 0;
    for (auto factor : point) point_sum += factor;
    lay_out_steps();
  }

  // The corner of remainder r lies r further in each coordinate, and d + 1 back in the r coordinates of its set.
  void lay_out_steps() {
    step.assign(d <= kMaxSets ? std::size_t{2} << d : 0, 0);
    for (std::size_t set = 1; set < step.size(); ++set) {
      int highest = 0;
      while (set >> (highest + 1) != 0) ++highest;
      const std::size_t rest = set - (std::size_t{1} << highest);
      const std::uint64_t factor = highest < d ? point[at(highest)] : 0;
      step[set] = step[rest] + point_sum - static_cast<std::uint64_t>(d + 1) * factor;
    }
  }

  void lay_out_bases(const std::vector<Range>& elevated) {
    low.assign(at(d), 0);
    high.assign(at(d), 0);
    origin = 0;
    double low_size = 1, high_size = 1;
    bool fits = true;
    for (int i = 0; i < d; ++i) {
      const double least = std::floor(elevated[at(i)].least / (d + 1)) - 3;  // of q_i, moves and rounding included
      const double digit = std::ceil(elevated[at(i)].most / (d + 1)) + 3 - least;
      if (low_size * digit < 0x1p32) {
        low[at(i)] = static_cast<std::uint32_t>(low_size);
        origin += static_cast<std::uint32_t>(static_cast<std::int64_t>(least)) * low[at(i)];
        low_size *= digit;
      } else if (high_size * digit < 0x1p32) {
        high[at(i)] = static_cast<std::uint32_t>(high_size);
        high_size *= digit;
      } else {
        fits = false;
      }
    }
    direct = fits && high_size == 1 && low_size <= kMostDirect ? static_cast<std::size_t>(low_size) : 0;
    if (fits) return;
    std::uint64_t odd = 0xA24BAED4963EE407ull;
    for (int i = 0; i < d; ++i) {
      odd *= 0xD1342543DE82EF95ull;
      low[at(i)] = static_cast<std::uint32_t>(odd >> 32) | 1;
      odd *= 0xD1342543DE82EF95ull;
      high[at(i)] = static_cast<std::uint32_t>(odd >> 32) | 1;
    }
  }
};

}  // namespace crf
