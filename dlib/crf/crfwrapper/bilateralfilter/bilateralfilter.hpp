// Dense-CRF filter: features x, y over sigmaxy and R, G, B over sigmargb (d = 5).
#pragma once

#include "arguments.hpp"

void bilateralfilter(const crf::FloatArray& image, const crf::FloatArray& in, crf::FloatArray& out, std::int64_t H,
                     std::int64_t W, float sigmargb, float sigmaxy);

void bilateralfilter_batch(const crf::FloatArray& images, const crf::FloatArray& ins, crf::FloatArray& outs,
                           std::int64_t N, std::int64_t K, std::int64_t H, std::int64_t W, float sigmargb,
                           float sigmaxy);
