// Multi-scale deformable attention on the CPU, and the registration of the operators.
//
// Source: Deformable DETR, eq. 3. Built on PyTorch's stable ABI: one build serves later releases.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <vector>

#include <torch/csrc/stable/library.h>

#include "arguments.h"
#include "instruction_set.h"

namespace mask2former_mt {
namespace {

// Samples that are located at once; their places take some 5 KB of the cache.
constexpr int kStage = 64;

// The level of each of the L * P samples of a head.
template <typename A>
struct Grid {
  std::vector<int32_t> width, height, start;

  Grid(const Shapes& n, const int64_t* shapes) {
    int64_t level_start = 0;
    for (int64_t level = 0; level < n.L; ++level) {
      const int64_t h = shapes[2 * level], w = shapes[2 * level + 1];
      height.insert(height.end(), n.P, static_cast<int32_t>(h));
      width.insert(width.end(), n.P, static_cast<int32_t>(w));
      start.insert(start.end(), n.P, static_cast<int32_t>(level_start));
      level_start += h * w;
    }
  }
};

template <typename A, typename T>
inline A load(T x) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    // bfloat16 is the upper half of a float.
    const uint32_t bits = static_cast<uint32_t>(x.x) << 16;
    float result;
    std::memcpy(&result, &bits, sizeof(result));
    return static_cast<A>(result);
  } else {
    return static_cast<A>(x);
  }
}

template <typename T, typename A>
inline T store(A x) {
  return static_cast<T>(x);
}

// The same kernels for several instruction sets; the machine decides which one runs.
#define MASK2FORMER_MT_KERNELS "cpu_kernel.h"
#include "every_instruction_set.h"

// Copies one head's rows (S, D) out of (S, M, D): close together they stay in the cache, while
// rows M * D apart fall on few of its sets.
template <typename T>
void gather_head(const Shapes& n, const T* value, int64_t image, int64_t head, int64_t begin,
                 int64_t end, T* rows) {
  const T* from = value + (image * n.S * n.M + head) * n.D;
  for (int64_t s = begin; s < end; ++s)
    std::memcpy(static_cast<void*>(rows + s * n.D), from + s * n.M * n.D, n.D * sizeof(T));
}

template <typename T, typename C, typename A>
void forward(const Shapes& n, const int64_t* shapes, const Tensor& value_tensor,
             const Tensor& locations_tensor, const Tensor& weights_tensor, Tensor& output_tensor) {
  const T* value = static_cast<const T*>(value_tensor.const_data_ptr());
  const C* locations = static_cast<const C*>(locations_tensor.const_data_ptr());
  const C* weights = static_cast<const C*>(weights_tensor.const_data_ptr());
  T* output = static_cast<T*>(output_tensor.mutable_data_ptr());
  const Grid<A> grid(n, shapes);
  // The copy is worth it once a row is read more than a few times.
  const bool copied = n.M > 1 && n.Q * n.L * n.P * 4 >= 8 * n.S;
  Tensor copy = copied ? torch::stable::empty_like(value_tensor) : value_tensor;
  if (copied) {
    T* rows = static_cast<T*>(copy.mutable_data_ptr());
    constexpr int64_t kRows = 512;
    const int64_t blocks = (n.S + kRows - 1) / kRows;
    torch::stable::parallel_for(0, n.B * blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t image = task / blocks, first = task % blocks * kRows;
        for (int64_t head = 0; head < n.M; ++head)
          gather_head(n, value, image, head, first, std::min(first + kRows, n.S),
                      rows + (image * n.M + head) * n.S * n.D);
      }
    });
    value = rows;
  }
  // Small enough that two threads share evenly, large enough that a block is worth a call.
  constexpr int64_t kQueries = 64;
  const int64_t blocks = (n.Q + kQueries - 1) / kQueries;
  // Heads outermost within an image: one head's rows stay in the cache.
  torch::stable::parallel_for(0, n.B * n.M * blocks, 1, [&](int64_t begin, int64_t end) {
    std::vector<A> sum(n.D);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = (task % blocks) * kQueries;
      const int64_t head = task / blocks % n.M, image = task / blocks / n.M;
      const T* base = copied ? value + (image * n.M + head) * n.S * n.D
                             : value + (image * n.S * n.M + head) * n.D;
      MASK2FORMER_MT_DISPATCH(forward_block<T MASK2FORMER_MT_COMMA C MASK2FORMER_MT_COMMA A>, n, grid, base, copied ? n.D : n.M * n.D, locations,
               weights, output, sum.data(), image, head, first, std::min(first + kQueries, n.Q))
    }
  });
}

template <typename T, typename C, typename A>
void backward(const Shapes& n, const int64_t* shapes, const Tensor& grad_tensor,
              const Tensor& value_tensor, const Tensor& locations_tensor,
              const Tensor& weights_tensor, Tensor& grad_value, Tensor& grad_locations,
              Tensor& grad_weights) {
  const T* grad_output = static_cast<const T*>(grad_tensor.const_data_ptr());
  const T* value = static_cast<const T*>(value_tensor.const_data_ptr());
  const C* locations = static_cast<const C*>(locations_tensor.const_data_ptr());
  const C* weights = static_cast<const C*>(weights_tensor.const_data_ptr());
  T* value_target = static_cast<T*>(grad_value.mutable_data_ptr());
  C* locations_target = static_cast<C*>(grad_locations.mutable_data_ptr());
  C* weights_target = static_cast<C*>(grad_weights.mutable_data_ptr());
  const Grid<A> grid(n, shapes);
  torch::stable::parallel_for(0, n.B * n.M, 1, [&](int64_t begin, int64_t end) {
    std::vector<A> grad(n.D), own(n.S * n.D);
    std::vector<T> rows(n.S * n.D);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t head = task % n.M, image = task / n.M;
      gather_head(n, value, image, head, 0, n.S, rows.data());
      std::fill(own.begin(), own.end(), A(0));
      MASK2FORMER_MT_DISPATCH(backward_block<T MASK2FORMER_MT_COMMA C MASK2FORMER_MT_COMMA A>, n, grid, grad_output, rows.data(), n.D, locations,
               weights, own.data(), locations_target, weights_target, grad.data(), image, head)
      T* target = value_target + (image * n.S * n.M + head) * n.D;
      for (int64_t s = 0; s < n.S; ++s)
        for (int64_t d = 0; d < n.D; ++d)
          target[s * n.M * n.D + d] = store<T>(own[s * n.D + d]);
    }
  });
}

Tensor ms_deform_attn_cpu(const Tensor& value_any, const std::vector<int64_t>& spatial_shapes,
                          const Tensor& locations_any, const Tensor& weights_any) {
  const Shapes n = check_arguments(value_any, spatial_shapes, locations_any, weights_any);
  const Tensor value = torch::stable::contiguous(value_any);
  const Tensor locations = torch::stable::contiguous(locations_any);
  const Tensor weights = torch::stable::contiguous(weights_any);
  Tensor output = torch::stable::new_empty(value, {n.B, n.Q, n.M * n.D});
  MASK2FORMER_MT_BY_TYPE(value.scalar_type(), locations.scalar_type(), forward, n,
                         spatial_shapes.data(), value, locations, weights, output)
  return output;
}

std::tuple<Tensor, Tensor, Tensor> ms_deform_attn_backward_cpu(
    const Tensor& grad_any, const Tensor& value_any, const std::vector<int64_t>& spatial_shapes,
    const Tensor& locations_any, const Tensor& weights_any) {
  const Shapes n = check_arguments(value_any, spatial_shapes, locations_any, weights_any);
  check_gradient(grad_any, value_any, n);
  const Tensor grad = torch::stable::contiguous(grad_any);
  const Tensor value = torch::stable::contiguous(value_any);
  const Tensor locations = torch::stable::contiguous(locations_any);
  const Tensor weights = torch::stable::contiguous(weights_any);
  Tensor grad_value = torch::stable::empty_like(value);
  Tensor grad_locations = torch::stable::empty_like(locations);
  Tensor grad_weights = torch::stable::empty_like(weights);
  MASK2FORMER_MT_BY_TYPE(value.scalar_type(), locations.scalar_type(), backward, n,
                         spatial_shapes.data(), grad, value, locations, weights, grad_value,
                         grad_locations, grad_weights)
  return {grad_value, grad_locations, grad_weights};
}

}  // namespace
}  // namespace mask2former_mt

// For collect_env: the instruction set that this machine runs.
extern "C" __attribute__((visibility("default"))) const char* mask2former_mt_instruction_set() {
  switch (mask2former_mt::instruction_set()) {
    case mask2former_mt::InstructionSet::avx512: return "AVX-512";
    case mask2former_mt::InstructionSet::avx2: return "AVX2";
    default: return "baseline";
  }
}

STABLE_TORCH_LIBRARY(mask2former_mt, library) {
  library.def(
      "ms_deform_attn(Tensor value, int[] spatial_shapes, Tensor sampling_locations, "
      "Tensor attention_weights) -> Tensor");
  library.def(
      "ms_deform_attn_backward(Tensor grad_output, Tensor value, int[] spatial_shapes, "
      "Tensor sampling_locations, Tensor attention_weights) -> (Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(mask2former_mt, CPU, library) {
  library.impl("ms_deform_attn", TORCH_BOX(&mask2former_mt::ms_deform_attn_cpu));
  library.impl("ms_deform_attn_backward",
               TORCH_BOX(&mask2former_mt::ms_deform_attn_backward_cpu));
}
