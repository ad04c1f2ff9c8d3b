// Colour filter: the features are the DIM image planes over sigmargb; positions have no effect.
#pragma once

#include <cstddef>
#include <vector>

#include "arguments.hpp"

void colorbilateralfilter(const crf::FloatArray& image, const crf::FloatArray& in, crf::FloatArray& out, std::int64_t H,
                          std::int64_t W, float sigmargb, std::int64_t DIM);

void colorbilateralfilter_batch(const crf::FloatArray& images, const crf::FloatArray& ins, crf::FloatArray& outs,
                                std::int64_t N, std::int64_t K, std::int64_t H, std::int64_t W, float sigmargb,
                                std::int64_t DIM);

// Images of one group are filtered as if they were side by side in one wide image. `groups` is a sequence of
// sequences of indices, without repetition; outs of images in no group do not change.
void colorbilateralfilter_groups(const crf::FloatArray& images, const crf::FloatArray& ins, crf::FloatArray& outs,
                                 std::int64_t N, std::int64_t K, std::int64_t H, std::int64_t W, float sigmargb,
                                 std::int64_t DIM, const std::vector<std::vector<std::ptrdiff_t>>& groups);
