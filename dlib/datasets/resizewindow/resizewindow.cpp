#include "resizewindow.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <vector>

// The loops for each instruction set, chosen when the module is loaded; whole numbers give the same bits in all of
// them.
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

namespace {

constexpr int kBits = 22, kRows = 4, kLanes = 4 * kRows;  // a lane is a byte of one of kRows pixels R, G, B, 0
constexpr std::int32_t kHalf = 1 << (kBits - 1);

// For each output pixel of an axis: the first pixel that counts, and the weights from there on.
struct Axis {
  const std::int32_t *first, *weights;
  std::ptrdiff_t size, taps;

  std::ptrdiff_t begin() const { return *std::min_element(first, first + size); }

  // One more than the last pixel with a weight.
  std::ptrdiff_t end() const {
    std::ptrdiff_t last = 0;
    for (std::ptrdiff_t i = 0; i < size; ++i)
      for (std::ptrdiff_t t = 0; t < taps; ++t)
        if (weights[i * taps + t] != 0) last = std::max(last, first[i] + t + 1);
    return last;
  }

  // Whether each set of weights has about the sum 1: then no sum leaves 32 bits, and each has a pixel that counts.
  bool is_mean() const {
    for (std::ptrdiff_t i = 0; i < size; ++i) {
      std::int64_t sum = 0;
      for (std::ptrdiff_t t = 0; t < taps; ++t) {
        if (weights[i * taps + t] < 0) return false;
        sum += weights[i * taps + t];
      }
      const std::int64_t error = sum - (std::int64_t{1} << kBits);
      if (error > taps || error < -taps) return false;
    }
    return taps <= 1 << kBits;
  }
};

Axis checked_axis(const unsigned char* first, std::size_t first_bytes, const unsigned char* weights,
                  std::size_t weights_bytes, int pixels) {
  const std::size_t size = first_bytes / sizeof(std::int32_t), count = weights_bytes / sizeof(std::int32_t);
  if (size == 0 || count == 0 || count % size != 0 || first_bytes % sizeof(std::int32_t) != 0 ||
      weights_bytes % sizeof(std::int32_t) != 0)
    throw std::invalid_argument(
        "each output pixel of an axis needs an int32 place and the same number of int32 weights");
  const Axis axis = {reinterpret_cast<const std::int32_t*>(first), reinterpret_cast<const std::int32_t*>(weights),
                     static_cast<std::ptrdiff_t>(size), static_cast<std::ptrdiff_t>(count / size)};
  if (axis.begin() < 0 || *std::max_element(axis.first, axis.first + size) >= pixels || axis.end() > pixels)
    throw std::invalid_argument("an output pixel's weights must lie inside the picture");
  if (!axis.is_mean()) throw std::invalid_argument("weights must be at least 0, and have the sum 2^22");
  return axis;
}

// kRows rows of RGB side by side: pixel x of row r becomes word x * kRows + r.
FOR_EACH_PROCESSOR void interleave(const unsigned char* const* rows, std::ptrdiff_t width,
                                   std::uint32_t* __restrict words) {
  for (int r = 0; r < kRows; ++r) {
    const unsigned char* row = rows[r];
    for (std::ptrdiff_t x = 0; x + 1 < width; ++x) std::memcpy(words + x * kRows + r, row + 3 * x, 4);
    std::memcpy(words + (width - 1) * kRows + r, row + 3 * (width - 1), 3);  // a fourth byte may not exist
  }
}

FOR_EACH_PROCESSOR void along_rows(const unsigned char* __restrict pixels, const Axis& axis,
                                   unsigned char* __restrict out) {
  const std::ptrdiff_t taps = axis.taps;
  for (std::ptrdiff_t x = 0; x < axis.size; ++x, out += kLanes) {
    std::int32_t sums[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] = kHalf;
    const unsigned char* pixel = pixels + kLanes * static_cast<std::ptrdiff_t>(axis.first[x]);
    for (std::ptrdiff_t t = 0; t < taps; ++t, pixel += kLanes) {
      const std::int32_t weight = axis.weights[x * taps + t];
      for (int lane = 0; lane < kLanes; ++lane) sums[lane] += pixel[lane] * weight;
    }
    for (int lane = 0; lane < kLanes; ++lane) out[lane] = static_cast<unsigned char>(sums[lane] >> kBits);
  }
}

FOR_EACH_PROCESSOR void separate(const std::uint32_t* __restrict words, std::ptrdiff_t columns,
                                 std::uint32_t* __restrict rows) {
  for (int r = 0; r < kRows; ++r)
    for (std::ptrdiff_t x = 0; x < columns; ++x) rows[r * columns + x] = words[x * kRows + r];
}

// A weighted sum of `taps` rows of `count` bytes.
FOR_EACH_PROCESSOR void down_columns(const unsigned char* __restrict rows, std::ptrdiff_t count,
                                     const std::int32_t* __restrict weights, std::ptrdiff_t taps,
                                     std::int32_t* __restrict sums, unsigned char* __restrict out) {
  for (std::ptrdiff_t i = 0; i < count; ++i) sums[i] = kHalf;
  for (std::ptrdiff_t t = 0; t < taps; ++t, rows += count) {
    const std::int32_t weight = weights[t];
    for (std::ptrdiff_t i = 0; i < count; ++i) sums[i] += rows[i] * weight;
  }
  for (std::ptrdiff_t i = 0; i < count; ++i) out[i] = static_cast<unsigned char>(sums[i] >> kBits);
}

FOR_EACH_PROCESSOR void split(const unsigned char* __restrict pixels, std::ptrdiff_t columns,
                              unsigned char* __restrict red, unsigned char* __restrict green,
                              unsigned char* __restrict blue) {
  for (std::ptrdiff_t x = 0; x < columns; ++x, pixels += 4) {
    red[x] = pixels[0];
    green[x] = pixels[1];
    blue[x] = pixels[2];
  }
}

}  // namespace

void resize_window(const unsigned char* pixels, std::size_t pixels_bytes, const unsigned char* first_x,
                   std::size_t first_x_bytes, const unsigned char* weights_x, std::size_t weights_x_bytes,
                   const unsigned char* first_y, std::size_t first_y_bytes, const unsigned char* weights_y,
                   std::size_t weights_y_bytes, unsigned char* out, std::size_t out_bytes, int height, int width) {
  if (height < 1 || width < 1 || pixels_bytes / 3 / height != static_cast<std::size_t>(width) ||
      pixels_bytes != std::size_t{3} * height * width)
    throw std::invalid_argument("pixels must be uint8 [height, width, 3]");
  const Axis across = checked_axis(first_x, first_x_bytes, weights_x, weights_x_bytes, width);
  const Axis down = checked_axis(first_y, first_y_bytes, weights_y, weights_y_bytes, height);
  const std::ptrdiff_t columns = across.size, plane = down.size * columns;
  if (out_bytes != static_cast<std::size_t>(3 * plane))
    throw std::invalid_argument("out must be uint8 [3, rows, columns]");

  // Rows and columns past the end have weight 0 and are read as zeros.
  const std::ptrdiff_t begin = down.begin(), rows = down.end() - begin;
  std::vector<std::uint32_t> words((width + across.taps) * kRows), resized(columns * kRows);
  std::vector<std::uint32_t> between((rows + down.taps + kRows) * columns);
  for (std::ptrdiff_t y = 0; y < rows; y += kRows) {
    const unsigned char* group[kRows];
    for (int r = 0; r < kRows; ++r) group[r] = pixels + std::min<std::ptrdiff_t>(begin + y + r, height - 1) * width * 3;
    interleave(group, width, words.data());
    along_rows(reinterpret_cast<const unsigned char*>(words.data()), across,
               reinterpret_cast<unsigned char*>(resized.data()));
    separate(resized.data(), columns, between.data() + y * columns);
  }
  std::vector<std::int32_t> sums(4 * columns);
  std::vector<unsigned char> line(4 * columns);
  for (std::ptrdiff_t y = 0; y < down.size; ++y, out += columns) {
    const std::uint32_t* from = between.data() + (down.first[y] - begin) * columns;
    down_columns(reinterpret_cast<const unsigned char*>(from), 4 * columns, down.weights + y * down.taps, down.taps,
                 sums.data(), line.data());
    split(line.data(), columns, out, out + plane, out + 2 * plane);
  }
}
