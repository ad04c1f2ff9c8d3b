// The bilateral filter of a batch of images: out_i = sum_j exp(-|f_i - f_j|^2 / 2) v_j on the permutohedral
// lattice (Adams, Baek & Davis 2010), all value channels in one pass.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <stdexcept>
#include <vector>

#include "kernels.hpp"
#include "pool.hpp"

namespace crf {

// Frames of a batch whose pixels share one lattice; a single image is one frame.
using Frames = std::vector<std::ptrdiff_t>;

// Flat arrays of a batch: images [N, planes, H, W], ins and outs [N, K, H, W].
struct Batch {
  const float* images;
  const float* ins;
  float* outs;
};

// Bytes of lattice above which a thread frees them after a call.
constexpr std::size_t kLargestKept = 1 << 28;

class LatticeFilter {
 public:
  LatticeFilter(const Shape& shape, const Batch& batch, int threads)
      : shape_(shape), batch_(batch), threads_(threads) {}

  // Filters the given frames together. All of `ins` is read before `outs` is written.
  void operator()(const Frames& frames, Lattice& lattice) const {
    cut_runs(frames, lattice);
    Plan plan(shape_);
    plan.set_range(check(lattice));
    const int runs = static_cast<int>(lattice.runs.size());
    parallel(runs, [&](int i) {
      Run& run = lattice.runs[at(i)];
      kernels_.splat(plan, image(run), in(run), run, scratch());
    });
    join(plan, lattice);
    find_neighbours(plan, lattice);
    blur(plan, lattice);
    refuse_overflow(lattice);
    parallel(runs, [&](int i) {
      const Run& run = lattice.runs[at(i)];
      kernels_.slice(plan, lattice.values.data() + plan.shape.channels, out(run), run);
    });
  }

 private:
  static std::size_t at(std::ptrdiff_t i) { return static_cast<std::size_t>(i); }

  static Scratch& scratch() {
    static thread_local Scratch mine;
    return mine;
  }

  const float* image(const Run& run) const { return batch_.images + run.frame * shape_.planes * shape_.pixels(); }
  const float* in(const Run& run) const { return batch_.ins + run.frame * shape_.channels * shape_.pixels(); }
  float* out(const Run& run) const { return batch_.outs + run.frame * shape_.channels * shape_.pixels(); }

  void parallel(int tasks, const Pool::Task& task) const { Pool::instance().run(tasks, threads_, task); }

  // Runs of equal length within each frame, of 8,000 pixels or more; about 64 in all at most.
  void cut_runs(const Frames& frames, Lattice& lattice) const {
    const std::ptrdiff_t pixels = shape_.pixels(), most = std::max<std::ptrdiff_t>(1, 64 / frames_size(frames));
    const std::ptrdiff_t runs = std::clamp<std::ptrdiff_t>(pixels / 8000, 1, most);
    lattice.runs.resize(frames.size() * at(runs));
    Run* run = lattice.runs.data();
    for (std::ptrdiff_t frame : frames)
      for (std::ptrdiff_t i = 0; i < runs; ++i, ++run) {
        run->frame = frame;
        run->begin = pixels / runs * i + std::min(i, pixels % runs);
        run->count = pixels / runs + (i < pixels % runs ? 1 : 0);
      }
  }

  static std::ptrdiff_t frames_size(const Frames& frames) { return static_cast<std::ptrdiff_t>(frames.size()); }

  // Throws unless all numbers are finite; returns the range of each feature.
  std::vector<Range> check(const Lattice& lattice) const {
    const std::size_t planes = at(shape_.planes), channels = at(shape_.channels), runs = lattice.runs.size();
    const auto part = [&](const float* first, std::size_t plane, const Run& run) {
      return kernels_.extent(first + static_cast<std::ptrdiff_t>(plane) * shape_.pixels() + run.begin, run.count);
    };
    std::vector<Extent> extents(runs * (planes + 1), Extent{0, false});  // of each plane, then of the values
    parallel(static_cast<int>(runs), [&](int i) {
      const Run& run = lattice.runs[at(i)];
      Extent* mine = &extents[at(i) * (planes + 1)];
      for (std::size_t p = 0; p < planes; ++p) mine[p] = part(image(run), p, run);
      for (std::size_t k = 0; k < channels; ++k) {
        const Extent of_values = part(in(run), k, run);
        if (!std::isfinite(of_values.largest)) mine[planes] = of_values;
      }
    });
    std::vector<Range> result;
    if (shape_.spatial) {
      result.push_back({0, static_cast<double>(shape_.width)});
      result.push_back({0, static_cast<double>(shape_.height)});
    }
    for (std::size_t p = 0; p <= planes; ++p) {
      Range range;
      for (std::size_t i = 0; i < runs; ++i) {
        const Extent of_run = extents[i * (planes + 1) + p];
        if (!std::isfinite(of_run.largest))
          throw std::invalid_argument(p < planes ? "images hold NaN or infinity" : "ins hold NaN or infinity");
        range.most = std::max(range.most, static_cast<double>(of_run.largest));
        if (of_run.negative) range.least = std::min(range.least, -static_cast<double>(of_run.largest));
      }
      if (p < planes) result.push_back(range);
    }
    return result;
  }

  // Joins the vertices of the runs, in order, and gives their corners new numbers.
  void join(const Plan& plan, Lattice& lattice) const {
    const std::size_t channels = at(plan.shape.channels);
    std::size_t most = 0;
    for (const Run& run : lattice.runs) most += at(run.vertices.size());
    lattice.vertices.reset();
    lattice.sums.assign(most * channels, 0.0);
    for (Run& run : lattice.runs) {
      const int own = run.vertices.size();
      run.joined.assign(at(own) + 1, -1);
      const double* from = run.sums.data();
      for (int vertex = 0; vertex < own; ++vertex, from += channels) {
        const int joined = lattice.vertices.insert(run.vertices.key(vertex));
        run.joined[at(vertex + 1)] = joined;
        double* to = &lattice.sums[at(joined) * channels];
        for (std::size_t k = 0; k < channels; ++k) to[k] += from[k];
      }
    }
    parallel(static_cast<int>(lattice.runs.size()), [&](int i) {
      Run& run = lattice.runs[at(i)];
      for (int& corner : run.corners) corner = run.joined[at(corner + 1)];
    });
    const std::size_t size = at(lattice.vertices.size()) * channels;
    lattice.values.assign(channels + size, 0);
    for (std::size_t i = 0; i < size; ++i) lattice.values[channels + i] = static_cast<float>(lattice.sums[i]);
    lattice.blurred.assign(lattice.values.size(), 0);
  }

  // Splits n vertices among the threads; no result depends on where the cuts are.
  void over_vertices(int n, const std::function<void(int, int)>& part) const {
    const int parts = n < 1024 ? 1 : std::min(threads_, 64);
    parallel(parts, [&](int i) {
      part(static_cast<int>(std::int64_t{n} * i / parts), static_cast<int>(std::int64_t{n} * (i + 1) / parts));
    });
  }

  void find_neighbours(const Plan& plan, Lattice& lattice) const {
    const int n = lattice.vertices.size();
    const std::size_t size = at(plan.d + 1) * at(n);
    lattice.before.assign(size, 0);
    lattice.after.assign(size, 0);
    over_vertices(n, [&](int begin, int end) {
      for (int axis = 0; axis <= plan.d; ++axis) {
        // The neighbour before lies at -1 in all coordinates but d in the axis'.
        const std::uint64_t factor = axis < plan.d ? plan.point[at(axis)] : 0;
        const std::uint64_t step = factor * static_cast<std::uint64_t>(plan.d + 1) - plan.point_sum;
        int* before = &lattice.before[at(axis) * at(n)];
        int* after = &lattice.after[at(axis) * at(n)];
        for (int vertex = begin; vertex < end; ++vertex) {
          const int other = lattice.vertices.find(lattice.vertices.key(vertex) + step);
          if (other < 0) continue;
          before[vertex] = other + 1;
          after[other] = vertex + 1;
        }
      }
    });
  }

  // 1/2, 1, 1/2 along each axis in turn, then the final scale.
  void blur(const Plan& plan, Lattice& lattice) const {
    const int n = lattice.vertices.size();
    const auto blur_axis = plan.shape.channels == 2 ? blur_vertices<2> : blur_vertices<0>;
    for (int axis = 0; axis <= plan.d; ++axis) {
      const float scale = axis < plan.d ? 1.0f : 1.0f / (1.0f + std::exp2(-static_cast<float>(plan.d)));
      over_vertices(n, [&](int begin, int end) { blur_axis(plan, lattice, axis, scale, begin, end); });
      lattice.values.swap(lattice.blurred);
    }
  }

  template <int K>
  static void blur_vertices(const Plan& plan, Lattice& lattice, int axis, float scale, int begin, int end) {
    const std::ptrdiff_t n = lattice.vertices.size(), channels = K > 0 ? K : plan.shape.channels;
    const int *before = &lattice.before[at(axis * n)], *after = &lattice.after[at(axis * n)];
    const float* from = lattice.values.data();
    float* to = lattice.blurred.data();
    for (std::ptrdiff_t vertex = begin; vertex < end; ++vertex) {
      const float *a = from + before[vertex] * channels, *b = from + after[vertex] * channels;
      const float* old = from + (vertex + 1) * channels;
      float* fresh = to + (vertex + 1) * channels;
      for (std::ptrdiff_t k = 0; k < channels; ++k) fresh[k] = (old[k] + 0.5f * (a[k] + b[k])) * scale;
    }
  }

  // Slicing interpolates: with some margin above the vertices' values the results are finite too.
  void refuse_overflow(const Lattice& lattice) const {
    const Extent extent = kernels_.extent(lattice.values.data(), static_cast<std::ptrdiff_t>(lattice.values.size()));
    if (!(extent.largest < std::numeric_limits<float>::max() / 2))
      throw std::invalid_argument("ins are too large to be summed");
  }

  Shape shape_;
  Batch batch_;
  int threads_;
  const Kernels& kernels_ = best_kernels();
};

// Filters groups of frames, each alone. Each thread gets complete groups while there are enough of them, then
// the threads share each group.
inline void filter_groups(const Shape& shape, const Batch& batch, const std::vector<Frames>& groups, int threads) {
  const auto filter = [&](std::size_t group, int threads_of_group) {
    static thread_local Lattice lattice;
    LatticeFilter(shape, batch, threads_of_group)(groups[group], lattice);
    // A thread keeps its memory for the next call, but not that of an unusually large group.
    if (lattice.bytes() > kLargestKept) lattice = Lattice();
  };
  const std::size_t whole = groups.size() - groups.size() % static_cast<std::size_t>(threads);
  Pool::instance().run(static_cast<int>(whole), threads, [&](int i) { filter(static_cast<std::size_t>(i), 1); });
  for (std::size_t i = whole; i < groups.size(); ++i) filter(i, threads);
}

// Filters n images, each alone.
inline void filter_batch(const Shape& shape, const Batch& batch, std::ptrdiff_t n, int threads) {
  std::vector<Frames> groups;
  for (std::ptrdiff_t i = 0; i < n; ++i) groups.push_back({i});
  filter_groups(shape, batch, groups, threads);
}

}  // namespace crf
