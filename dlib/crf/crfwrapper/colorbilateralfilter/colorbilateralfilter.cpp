#include "colorbilateralfilter.hpp"

#include "filter.hpp"

namespace {

crf::Shape checked_shape(const crf::FloatArray& images, const crf::FloatArray& ins, const crf::FloatArray& outs,
                         std::int64_t N, std::int64_t K, std::int64_t H, std::int64_t W, float sigmargb,
                         std::int64_t DIM) {
  if (DIM > crf::kMaxDim) throw std::invalid_argument("DIM must be at most " + std::to_string(crf::kMaxDim));
  crf::check_length(images, "images", "N * DIM * H * W", N, DIM, H, W);
  crf::check_length(ins, "ins", "N * K * H * W", N, K, H, W);
  crf::check_length(outs, "outs", "N * K * H * W", N, K, H, W);
  return {static_cast<int>(DIM), crf::checked_channels(K), H, W, false, sigmargb, 0};
}

}  // namespace

void colorbilateralfilter_batch(const crf::FloatArray& images, const crf::FloatArray& ins, crf::FloatArray& outs,
                                std::int64_t N, std::int64_t K, std::int64_t H, std::int64_t W, float sigmargb,
                                std::int64_t DIM) {
  const crf::Shape shape = checked_shape(images, ins, outs, N, K, H, W, sigmargb, DIM);
  const int threads = crf::thread_count();
  const crf::WithoutGil released;
  crf::filter_batch(shape, {images.data(), ins.data(), outs.data()}, N, threads);
}

void colorbilateralfilter(const crf::FloatArray& image, const crf::FloatArray& in, crf::FloatArray& out, std::int64_t H,
                          std::int64_t W, float sigmargb, std::int64_t DIM) {
  colorbilateralfilter_batch(image, in, out, 1, crf::channels_of(in, H, W), H, W, sigmargb, DIM);
}

void colorbilateralfilter_groups(const crf::FloatArray& images, const crf::FloatArray& ins, crf::FloatArray& outs,
                                 std::int64_t N, std::int64_t K, std::int64_t H, std::int64_t W, float sigmargb,
                                 std::int64_t DIM, const std::vector<std::vector<std::ptrdiff_t>>& groups) {
  const crf::Shape shape = checked_shape(images, ins, outs, N, K, H, W, sigmargb, DIM);
  std::vector<bool> taken(static_cast<std::size_t>(N));
  for (const auto& group : groups) {
    if (group.empty()) throw std::invalid_argument("groups must not be empty");
    for (std::ptrdiff_t frame : group) {
      if (frame < 0 || frame >= N) throw std::invalid_argument("groups must hold indices from 0 to N - 1");
      if (taken[static_cast<std::size_t>(frame)]) throw std::invalid_argument("groups must not share images");
      taken[static_cast<std::size_t>(frame)] = true;
    }
  }
  const int threads = crf::thread_count();
  const crf::WithoutGil released;
  crf::filter_groups(shape, {images.data(), ins.data(), outs.data()}, groups, threads);
}
