// Multi-scale deformable attention on the CPU, and the registration of the operators.
//
// Source: Deformable DETR, eq. 3. Built on PyTorch's stable ABI: one build serves later releases.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <tuple>
#include <type_traits>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/Half.h>

namespace {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// B images, S positions over all levels, M heads, D channels per head, Q queries, L levels,
// P points.
struct Shapes {
  int64_t B, S, M, D, Q, L, P;
};

template <typename A>
inline A not_a_number() {
  return std::numeric_limits<A>::quiet_NaN();
}

template <typename A, typename T>
inline A load(T x) {
  return static_cast<A>(x);
}
template <>
inline float load<float, BFloat16>(BFloat16 x) {
  // bfloat16 is the upper half of a float.
  const uint32_t bits = static_cast<uint32_t>(x.x) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

template <typename T, typename A>
inline T store(A x) {
  return static_cast<T>(x);
}

// The same kernels for several instruction sets; the machine decides which one runs.
namespace baseline {
#include "cpu_kernel.h"
}
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define MASK2FORMER_MT_X86 1
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace avx2 {
#include "cpu_kernel.h"
}
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512vl,avx512bw,avx512dq")
namespace avx512 {
#include "cpu_kernel.h"
}
#pragma GCC pop_options
#endif

enum class InstructionSet { baseline, avx2, avx512 };

InstructionSet instruction_set() {
#ifdef MASK2FORMER_MT_X86
  static const InstructionSet best = [] {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
      return InstructionSet::avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
      return InstructionSet::avx2;
    return InstructionSet::baseline;
  }();
  return best;
#else
  return InstructionSet::baseline;
#endif
}

// Calls body with the number of channels as a constant where it is a usual one, else with 0.
template <typename Body>
void with_channels(int64_t channels, const Body& body) {
  switch (channels) {
    case 8: return body(std::integral_constant<int, 8>());
    case 16: return body(std::integral_constant<int, 16>());
    case 32: return body(std::integral_constant<int, 32>());
    case 64: return body(std::integral_constant<int, 64>());
    default: return body(std::integral_constant<int, 0>());
  }
}

// A comma inside a macro's argument.
#define COMMA ,

#ifdef MASK2FORMER_MT_X86
#define DISPATCH(function, ...)                                                 \
  switch (set) {                                                                \
    case InstructionSet::avx512: avx512::function(__VA_ARGS__); break;          \
    case InstructionSet::avx2: avx2::function(__VA_ARGS__); break;              \
    default: baseline::function(__VA_ARGS__);                                   \
  }
#else
#define DISPATCH(function, ...) baseline::function(__VA_ARGS__);
#endif

template <typename T, typename A>
void forward(const Shapes& n, const int64_t* shapes, const void* value, const void* locations,
             const void* weights, void* output) {
  // Small enough that two threads share evenly, large enough that a block is worth a call.
  constexpr int64_t kBlock = 64;
  const int64_t blocks = (n.Q + kBlock - 1) / kBlock;
  const InstructionSet set = instruction_set();
  (void)set;
  with_channels(n.D, [&](auto fixed) {
    constexpr int FIXED = decltype(fixed)::value;
    // Heads outermost within an image: one head's slice of value stays in the cache.
    torch::stable::parallel_for(0, n.B * n.M * blocks, 1, [&](int64_t begin, int64_t end) {
      std::vector<A> sum(n.D);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t first = (task % blocks) * kBlock;
        const int64_t head = task / blocks % n.M, image = task / blocks / n.M;
        const int64_t last = first + kBlock < n.Q ? first + kBlock : n.Q;
        DISPATCH(forward_block<T COMMA A COMMA FIXED>, n, shapes,
                 static_cast<const T*>(value), static_cast<const T*>(locations),
                 static_cast<const T*>(weights), static_cast<T*>(output), sum.data(), image, head,
                 first, last)
      }
    });
  });
}

template <typename T, typename A>
void backward(const Shapes& n, const int64_t* shapes, const void* grad_output, const void* value,
              const void* locations, const void* weights, void* grad_value, void* grad_locations,
              void* grad_weights) {
  const InstructionSet set = instruction_set();
  (void)set;
  with_channels(n.D, [&](auto fixed) {
    constexpr int FIXED = decltype(fixed)::value;
    torch::stable::parallel_for(0, n.B * n.M, 1, [&](int64_t begin, int64_t end) {
      std::vector<A> grad(n.D), own(n.S * n.D);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t head = task % n.M, image = task / n.M;
        std::fill(own.begin(), own.end(), A(0));
        DISPATCH(backward_block<T COMMA A COMMA FIXED>, n, shapes,
                 static_cast<const T*>(grad_output), static_cast<const T*>(value),
                 static_cast<const T*>(locations), static_cast<const T*>(weights), own.data(),
                 static_cast<T*>(grad_locations), static_cast<T*>(grad_weights), grad.data(),
                 image, head)
        T* target = static_cast<T*>(grad_value) + (image * n.S * n.M + head) * n.D;
        for (int64_t s = 0; s < n.S; ++s)
          for (int64_t d = 0; d < n.D; ++d)
            target[s * n.M * n.D + d] = store<T>(own[s * n.D + d]);
      }
    });
  });
}

// The shapes, once the arguments are seen to go together. Python has refused what does not with
// better words; this guards against calls of torch.ops that go round it.
Shapes check(const Tensor& value, const std::vector<int64_t>& spatial_shapes,
             const Tensor& locations, const Tensor& weights) {
  STD_TORCH_CHECK(value.dim() == 4, "value must be (B, S, M, D)");
  STD_TORCH_CHECK(locations.dim() == 6, "sampling_locations must be (B, Q, M, L, P, 2)");
  STD_TORCH_CHECK(weights.dim() == 5, "attention_weights must be (B, Q, M, L, P)");
  Shapes n{value.size(0),     value.size(1),     value.size(2),    value.size(3),
           locations.size(1), locations.size(3), locations.size(4)};
  STD_TORCH_CHECK(static_cast<int64_t>(spatial_shapes.size()) == 2 * n.L,
                  "spatial_shapes must be 2 * L numbers");
  int64_t positions = 0;
  for (int64_t l = 0; l < n.L; ++l) positions += spatial_shapes[2 * l] * spatial_shapes[2 * l + 1];
  STD_TORCH_CHECK(positions == n.S, "value must have sum(H * W) positions");
  STD_TORCH_CHECK(locations.size(0) == n.B && locations.size(2) == n.M && locations.size(5) == 2,
                  "sampling_locations must be (B, Q, M, L, P, 2) with value's B and M");
  STD_TORCH_CHECK(weights.size(0) == n.B && weights.size(1) == n.Q && weights.size(2) == n.M &&
                      weights.size(3) == n.L && weights.size(4) == n.P,
                  "attention_weights must be (B, Q, M, L, P) as sampling_locations");
  STD_TORCH_CHECK(locations.scalar_type() == value.scalar_type() &&
                      weights.scalar_type() == value.scalar_type(),
                  "value, sampling_locations and attention_weights must have one dtype");
  return n;
}

#define BY_TYPE(type, function, ...)                                             \
  switch (type) {                                                                \
    case ScalarType::Float: function<float, float>(__VA_ARGS__); break;          \
    case ScalarType::Double: function<double, double>(__VA_ARGS__); break;       \
    case ScalarType::BFloat16: function<BFloat16, float>(__VA_ARGS__); break;    \
    case ScalarType::Half: function<Half, float>(__VA_ARGS__); break;            \
    default: STD_TORCH_CHECK(false, "value must be float32, float64, bfloat16 or float16"); \
  }

Tensor ms_deform_attn_cpu(const Tensor& value_any, const std::vector<int64_t>& spatial_shapes,
                          const Tensor& locations_any, const Tensor& weights_any) {
  const Shapes n = check(value_any, spatial_shapes, locations_any, weights_any);
  const Tensor value = torch::stable::contiguous(value_any);
  const Tensor locations = torch::stable::contiguous(locations_any);
  const Tensor weights = torch::stable::contiguous(weights_any);
  Tensor output = torch::stable::new_empty(value, {n.B, n.Q, n.M * n.D});
  BY_TYPE(value.scalar_type(), forward, n, spatial_shapes.data(), value.const_data_ptr(),
          locations.const_data_ptr(), weights.const_data_ptr(), output.mutable_data_ptr())
  return output;
}

std::tuple<Tensor, Tensor, Tensor> ms_deform_attn_backward_cpu(
    const Tensor& grad_any, const Tensor& value_any, const std::vector<int64_t>& spatial_shapes,
    const Tensor& locations_any, const Tensor& weights_any) {
  const Shapes n = check(value_any, spatial_shapes, locations_any, weights_any);
  const Tensor grad = torch::stable::contiguous(grad_any);
  const Tensor value = torch::stable::contiguous(value_any);
  const Tensor locations = torch::stable::contiguous(locations_any);
  const Tensor weights = torch::stable::contiguous(weights_any);
  STD_TORCH_CHECK(grad.dim() == 3 && grad.size(0) == n.B && grad.size(1) == n.Q &&
                      grad.size(2) == n.M * n.D && grad.scalar_type() == value.scalar_type(),
                  "grad_output must be (B, Q, M * D) of value's dtype");
  Tensor grad_value = torch::stable::empty_like(value);
  Tensor grad_locations = torch::stable::empty_like(locations);
  Tensor grad_weights = torch::stable::empty_like(weights);
  BY_TYPE(value.scalar_type(), backward, n, spatial_shapes.data(), grad.const_data_ptr(),
          value.const_data_ptr(), locations.const_data_ptr(), weights.const_data_ptr(),
          grad_value.mutable_data_ptr(), grad_locations.mutable_data_ptr(),
          grad_weights.mutable_data_ptr())
  return {grad_value, grad_locations, grad_weights};
}

}  // namespace

STABLE_TORCH_LIBRARY(mask2former_mt, library) {
  library.def(
      "ms_deform_attn(Tensor value, int[] spatial_shapes, Tensor sampling_locations, "
      "Tensor attention_weights) -> Tensor");
  library.def(
      "ms_deform_attn_backward(Tensor grad_output, Tensor value, int[] spatial_shapes, "
      "Tensor sampling_locations, Tensor attention_weights) -> (Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(mask2former_mt, CPU, library) {
  library.impl("ms_deform_attn", TORCH_BOX(&ms_deform_attn_cpu));
  library.impl("ms_deform_attn_backward", TORCH_BOX(&ms_deform_attn_backward_cpu));
}
