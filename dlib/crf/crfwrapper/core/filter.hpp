// The bilateral filter of a batch of images: out_i = sum_j exp(-|f_i - f_j|^2 / 2) v_j on the permutohedral
// lattice (Adams, Baek & Davis 2010), all value channels in one pass.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
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

// Size above which a thread gives memory back after a call: pixels times numbers kept for each.
constexpr std::ptrdiff_t kLargestKept = 1 << 22;

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
      if (scratch().rows.size() > std::size_t{kLargestKept}) scratch() = Scratch();
    });
    join(plan, lattice);
    find_neighbours(plan, lattice);
    blur(plan, lattice);
    parallel(runs, [&](int i) {
      const Run& run = lattice.runs[at(i)];
      kernels_.slice(plan, lattice.values.data(), out(run), run, scratch());
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

  // Runs of equal length within each frame, of 6,000 pixels or more; about 64 at most in all.
  void cut_runs(const Frames& frames, Lattice& lattice) const {
    const std::ptrdiff_t pixels = shape_.pixels(), most = std::max<std::ptrdiff_t>(1, 64 / frames_size(frames));
    const std::ptrdiff_t runs = std::clamp<std::ptrdiff_t>(pixels / 6000, 1, most);
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

  // Throws unless all numbers are finite; returns the largest feature of each dimension.
  std::vector<float> check(const Lattice& lattice) const {
    const std::size_t planes = at(shape_.planes), channels = at(shape_.channels), runs = lattice.runs.size();
    std::vector<float> most(runs * (planes + 1));
    parallel(static_cast<int>(runs), [&](int i) {
      const Run& run = lattice.runs[at(i)];
      float* mine = &most[at(i) * (planes + 1)];
      for (std::size_t p = 0; p < planes; ++p)
        mine[p] =
            kernels_.largest(image(run) + static_cast<std::ptrdiff_t>(p) * shape_.pixels() + run.begin, run.count);
      for (std::size_t k = 0; k < channels; ++k) {
        const float value =
            kernels_.largest(in(run) + static_cast<std::ptrdiff_t>(k) * shape_.pixels() + run.begin, run.count);
        if (!std::isfinite(value)) mine[planes] = value;
      }
    });
    std::vector<float> result;
    if (shape_.spatial) {
      result.push_back(static_cast<float>(shape_.width));
      result.push_back(static_cast<float>(shape_.height));
    }
    for (std::size_t p = 0; p <= planes; ++p) {
      float value = 0;
      for (std::size_t i = 0; i < runs; ++i) {
        const float of_run = most[i * (planes + 1) + p];
        if (!std::isfinite(of_run))
          throw std::invalid_argument(p < planes ? "images hold NaN or infinity" : "ins hold NaN or infinity");
        value = std::max(value, of_run);
      }
      if (p < planes) result.push_back(value);
    }
    return result;
  }

  // Joins the vertices of the runs, in order, and numbers their corners anew.
  void join(const Plan& plan, Lattice& lattice) const {
    const std::size_t channels = at(plan.shape.channels);
    lattice.vertices.reset();
    lattice.sums.clear();
    for (Run& run : lattice.runs) {
      run.joined.clear();
      for (int vertex = 0; vertex < run.vertices.size(); ++vertex) {
        const int joined = lattice.vertices.insert(run.vertices.key(vertex));
        run.joined.push_back(joined);
        if (at(joined) * channels == lattice.sums.size()) lattice.sums.resize(lattice.sums.size() + channels);
        for (std::size_t k = 0; k < channels; ++k)
          lattice.sums[at(joined) * channels + k] += run.sums[at(vertex) * channels + k];
      }
    }
    parallel(static_cast<int>(lattice.runs.size()), [&](int i) {
      Run& run = lattice.runs[at(i)];
      const std::ptrdiff_t corners = std::ptrdiff_t{run.simplices} * (plan.d + 1);
      for (std::ptrdiff_t j = 0; j < corners; ++j) run.corners[at(j)] = run.joined[at(run.corners[at(j)])];
    });
    lattice.values.assign(channels, 0);
    for (double sum : lattice.sums) lattice.values.push_back(static_cast<float>(sum));
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
    const int n = lattice.vertices.size(), channels = plan.shape.channels;
    for (int axis = 0; axis <= plan.d; ++axis) {
      const float scale = axis < plan.d ? 1.0f : 1.0f / (1.0f + std::exp2(-static_cast<float>(plan.d)));
      const int* before = &lattice.before[at(axis) * at(n)];
      const int* after = &lattice.after[at(axis) * at(n)];
      const float* from = lattice.values.data();
      float* to = lattice.blurred.data();
      over_vertices(n, [=](int begin, int end) {
        for (std::ptrdiff_t vertex = begin; vertex < end; ++vertex) {
          const float* a = from + static_cast<std::ptrdiff_t>(before[vertex]) * channels;
          const float* b = from + static_cast<std::ptrdiff_t>(after[vertex]) * channels;
          const float* old = from + (vertex + 1) * channels;
          float* fresh = to + (vertex + 1) * channels;
          for (int k = 0; k < channels; ++k) fresh[k] = (old[k] + 0.5f * (a[k] + b[k])) * scale;
        }
      });
      lattice.values.swap(lattice.blurred);
    }
  }

  Shape shape_;
  Batch batch_;
  int threads_;
  const Kernels& kernels_ = best_kernels();
};

// Filters groups of frames, each alone. Whole groups are given to threads while there are enough of them, then
// the threads share each group.
inline void filter_groups(const Shape& shape, const Batch& batch, const std::vector<Frames>& groups, int threads) {
  const auto filter = [&](std::size_t group, int threads_of_group) {
    static thread_local Lattice lattice;
    LatticeFilter(shape, batch, threads_of_group)(groups[group], lattice);
    // A thread keeps its memory for the next call, but not that of an unusually large group.
    const std::ptrdiff_t frames = static_cast<std::ptrdiff_t>(groups[group].size());
    if (shape.pixels() * frames * (8 + shape.channels) > kLargestKept) lattice = Lattice();
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
