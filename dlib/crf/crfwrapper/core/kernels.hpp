// The pixel loops for each instruction set of the machine, and the choice among them at run time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "lattice.hpp"

namespace crf {

// Loops over the few dimensions must be fully unrolled; clang does so by itself.
#if defined(__clang__)
#define CRF_UNROLL
#else
#define CRF_UNROLL _Pragma("GCC unroll 8")
#endif

#define CRF_ISA isa_baseline
#define CRF_NAME "baseline"
#define CRF_LANES 4
#include "kernels.inc"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#define CRF_ISA isa_avx2
#define CRF_NAME "avx2"
#define CRF_LANES 8
#include "kernels.inc"
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,avx512f,avx512vl,avx512dq,avx512bw"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,avx512f,avx512vl,avx512dq,avx512bw")
#endif
#define CRF_ISA isa_avx512
#define CRF_NAME "avx512"
#define CRF_LANES 16
#include "kernels.inc"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif

// The widest kernels that the processor has; CRF_ISA=baseline or avx2 in the environment limits them.
inline const Kernels& choose_kernels() {
#if defined(__x86_64__)
  const char* asked = std::getenv("CRF_ISA");
  const bool baseline = asked != nullptr && std::strcmp(asked, "baseline") == 0;
  const bool avx2 = asked != nullptr && std::strcmp(asked, "avx2") == 0;
  __builtin_cpu_init();
  if (!baseline && !avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"))
    return isa_avx512::kKernels;
  if (!baseline && __builtin_cpu_supports("avx2")) return isa_avx2::kKernels;
#endif
  return isa_baseline::kKernels;
}

inline const Kernels& best_kernels() {
  static const Kernels& kernels = choose_kernels();
  return kernels;
}

}  // namespace crf
