// What the CPU and the CUDA operator share: the shapes, and the check that they go together.

#pragma once

#include <cstdint>
#include <vector>

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/Half.h>

namespace mask2former_mt {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// B images, S positions over all levels, M heads, D channels per head, Q queries, L levels,
// P points.
struct Shapes {
  int64_t B, S, M, D, Q, L, P;
};

// The shapes, once the arguments are seen to go together. Python has refused what does not with
// better words; this guards against calls of torch.ops that go round it.
inline Shapes check_arguments(const Tensor& value, const std::vector<int64_t>& spatial_shapes,
                              const Tensor& locations, const Tensor& weights) {
  STD_TORCH_CHECK(value.dim() == 4, "value must be (B, S, M, D)");
  STD_TORCH_CHECK(locations.dim() == 6, "sampling_locations must be (B, Q, M, L, P, 2)");
  STD_TORCH_CHECK(weights.dim() == 5, "attention_weights must be (B, Q, M, L, P)");
  Shapes n{value.size(0),     value.size(1),     value.size(2),    value.size(3),
           locations.size(1), locations.size(3), locations.size(4)};
  STD_TORCH_CHECK(static_cast<int64_t>(spatial_shapes.size()) == 2 * n.L,
                  "spatial_shapes must be 2 * L numbers");
  int64_t positions = 0;
  for (int64_t l = 0; l < n.L; ++l) {
    STD_TORCH_CHECK(spatial_shapes[2 * l] > 0 && spatial_shapes[2 * l + 1] > 0,
                    "spatial_shapes must be positive");
    positions += spatial_shapes[2 * l] * spatial_shapes[2 * l + 1];
  }
  STD_TORCH_CHECK(positions == n.S, "value must have sum(H * W) positions");
  // Rows are indexed by 32 bits; what they lead to, by 64.
  STD_TORCH_CHECK(n.S < (int64_t{1} << 31), "value must have fewer than 2^31 positions");
  STD_TORCH_CHECK(locations.size(0) == n.B && locations.size(2) == n.M && locations.size(5) == 2,
                  "sampling_locations must be (B, Q, M, L, P, 2) with value's B and M");
  STD_TORCH_CHECK(weights.size(0) == n.B && weights.size(1) == n.Q && weights.size(2) == n.M &&
                      weights.size(3) == n.L && weights.size(4) == n.P,
                  "attention_weights must be (B, Q, M, L, P) as sampling_locations");
  const ScalarType type = value.scalar_type(), exact = locations.scalar_type();
  STD_TORCH_CHECK(weights.scalar_type() == exact,
                  "sampling_locations and attention_weights must have one dtype");
  STD_TORCH_CHECK(exact == type || (exact == ScalarType::Float &&
                                    (type == ScalarType::Half || type == ScalarType::BFloat16)),
                  "sampling_locations must have value's dtype, or be float32 beside half precision");
  return n;
}

inline void check_gradient(const Tensor& grad_output, const Tensor& value, const Shapes& n) {
  STD_TORCH_CHECK(grad_output.dim() == 3 && grad_output.size(0) == n.B &&
                      grad_output.size(1) == n.Q && grad_output.size(2) == n.M * n.D &&
                      grad_output.scalar_type() == value.scalar_type(),
                  "grad_output must be (B, Q, M * D) of value's dtype");
}

// Calls function<T, C, A>: the types of value, of locations and weights, and of the arithmetic.
#define MASK2FORMER_MT_BY_TYPE(type, exact, function, ...)                                    \
  switch (type) {                                                                             \
    case ScalarType::Float: function<float, float, float>(__VA_ARGS__); break;                \
    case ScalarType::Double: function<double, double, double>(__VA_ARGS__); break;            \
    case ScalarType::BFloat16:                                                                \
      if ((exact) == ScalarType::Float) function<BFloat16, float, float>(__VA_ARGS__);        \
      else function<BFloat16, BFloat16, float>(__VA_ARGS__);                                  \
      break;                                                                                  \
    case ScalarType::Half:                                                                    \
      if ((exact) == ScalarType::Float) function<Half, float, float>(__VA_ARGS__);            \
      else function<Half, Half, float>(__VA_ARGS__);                                          \
      break;                                                                                  \
    default: STD_TORCH_CHECK(false, "value must be float32, float64, bfloat16 or float16");   \
  }

}  // namespace mask2former_mt
