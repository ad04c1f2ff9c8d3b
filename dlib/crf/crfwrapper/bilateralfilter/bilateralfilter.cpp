#include "bilateralfilter.hpp"

#include "filter.hpp"

void bilateralfilter_batch(const crf::FloatArray& images, const crf::FloatArray& ins, crf::FloatArray& outs,
                           std::int64_t N, std::int64_t K, std::int64_t H, std::int64_t W, float sigmargb,
                           float sigmaxy) {
  crf::check_length(images, "images", "N * 3 * H * W", N, 3, H, W);
  crf::check_length(ins, "ins", "N * K * H * W", N, K, H, W);
  crf::check_length(outs, "outs", "N * K * H * W", N, K, H, W);
  const crf::Shape shape = {3, crf::checked_channels(K), H, W, true, sigmargb, sigmaxy};
  const int threads = crf::thread_count();
  const crf::WithoutGil released;
  crf::filter_batch(shape, {images.data(), ins.data(), outs.data()}, N, threads);
}

void bilateralfilter(const crf::FloatArray& image, const crf::FloatArray& in, crf::FloatArray& out, std::int64_t H,
                     std::int64_t W, float sigmargb, float sigmaxy) {
  bilateralfilter_batch(image, in, out, 1, crf::channels_of(in, H, W), H, W, sigmargb, sigmaxy);
}
