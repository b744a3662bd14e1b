// Multi-scale deformable attention on NVIDIA GPUs.
//
// Source: Deformable DETR, eq. 3. Built on PyTorch's stable ABI: one build serves later releases.
//
// A group of G neighbouring threads makes one output vector (image, query, head); each thread has
// VEC neighbouring channels, 128 bits of them. Where a sample falls is computed once, by one
// thread of the group, and shared; G samples at a time.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <tuple>
#include <vector>

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>

#include "arguments.h"

namespace mask2former_mt {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxLevels = 16;
constexpr unsigned kWholeWarp = 0xffffffffu;

// Passed to the kernel by value: no copy to the device, nothing to wait for.
struct Levels {
  int32_t height[kMaxLevels], width[kMaxLevels], start[kMaxLevels];
};

// The shapes as the kernels count: 32 bits wherever the host has seen that they are enough.
struct Sizes {
  int64_t S, M, D;
  uint32_t units, heads, units_per_image;  // B * Q * M, M, Q * M
  int32_t samples, points, channels;       // L * P, P, D
  int32_t row_packs;                       // M * D / VEC: from one position to the next
};

// VEC numbers that move as one.
template <typename T, int VEC>
struct alignas(sizeof(T) * VEC) Pack {
  T item[VEC];
};

// Where one sample falls.
template <typename A>
struct Place {
  int32_t row[4];  // position of the corners (0,0) (0,1) (1,0) (1,1), yx; -1 outside the level
  A fx, fy;        // fraction towards the later corner
  bool nan;        // the location is not finite: the result is NaN
};

template <typename A, typename C>
__device__ __forceinline__ Place<A> locate(C location_x, C location_y, int32_t height,
                                           int32_t width, int32_t start) {
  Place<A> place;
  const A x = static_cast<A>(location_x) * static_cast<A>(width) - A(0.5);
  const A y = static_cast<A>(location_y) * static_cast<A>(height) - A(0.5);
  // Infinity minus itself is NaN.
  place.nan = !(x - x == A(0)) || !(y - y == A(0));
  const bool inside =
      x >= A(-1) && y >= A(-1) && x < static_cast<A>(width) && y < static_cast<A>(height);
  const A low_x = floor(x), low_y = floor(y);
  place.fx = x - low_x;
  place.fy = y - low_y;
  // Large numbers are not inside, so that the casts are defined.
  const int32_t x0 = inside ? static_cast<int32_t>(low_x) : -2;
  const int32_t y0 = inside ? static_cast<int32_t>(low_y) : -2;
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    const int32_t cx = x0 + (c & 1), cy = y0 + (c >> 1);
    const bool ok = inside && cx >= 0 && cx < width && cy >= 0 && cy < height;
    place.row[c] = ok ? start + cy * width + cx : -1;
  }
  return place;
}

// The corners' first packs, counted from the head's first; -1 outside.
template <typename A>
__device__ __forceinline__ int4 packs_of(const Place<A>& place, int32_t row_packs) {
  return make_int4(place.row[0] < 0 ? -1 : place.row[0] * row_packs,
                   place.row[1] < 0 ? -1 : place.row[1] * row_packs,
                   place.row[2] < 0 ? -1 : place.row[2] * row_packs,
                   place.row[3] < 0 ? -1 : place.row[3] * row_packs);
}

template <typename T, typename C, typename A, int VEC, int G>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const Sizes n, const Levels levels, const T* __restrict__ value,
                   const C* __restrict__ locations, const C* __restrict__ weights,
                   T* __restrict__ output) {
  constexpr int kGroups = kThreads / G;
  // One more than G: groups of a warp read other banks.
  __shared__ int4 rows[kGroups][G + 1];
  __shared__ Pack<A, 4> corner_weights[kGroups][G + 1];
  const int lane = threadIdx.x % G, group = threadIdx.x / G;
  const uint32_t wanted = blockIdx.x * kGroups + group;
  // A group beyond the end repeats the last unit: it is needed at the barriers, and writes nothing.
  const bool active = wanted < n.units;
  const uint32_t unit = active ? wanted : n.units - 1;
  const int64_t head = unit % n.heads, image = unit / n.units_per_image;
  const Pack<T, VEC>* base =
      reinterpret_cast<const Pack<T, VEC>*>(value + (image * n.S * n.M + head) * n.D);

  for (int32_t chunk = 0; chunk < n.channels; chunk += G * VEC) {
    const int32_t channel = chunk + lane * VEC, pack = channel / VEC;
    A sum[VEC];
#pragma unroll
    for (int k = 0; k < VEC; ++k) sum[k] = A(0);
    for (int32_t first = 0; first < n.samples; first += G) {
      __syncwarp(kWholeWarp);
      if (first + lane < n.samples) {
        const int32_t i = first + lane, level = i / n.points;
        const int64_t at = static_cast<int64_t>(unit) * n.samples + i;
        const Pack<C, 2> xy = *reinterpret_cast<const Pack<C, 2>*>(locations + 2 * at);
        const A attention = static_cast<A>(weights[at]);
        const Place<A> p = locate<A>(xy.item[0], xy.item[1], levels.height[level],
                                     levels.width[level], levels.start[level]);
        int4 row = packs_of(p, n.row_packs);
        Pack<A, 4> w = {{attention * (A(1) - p.fy) * (A(1) - p.fx),
                         attention * (A(1) - p.fy) * p.fx, attention * p.fy * (A(1) - p.fx),
                         attention * p.fy * p.fx}};
        if (p.nan) {
          // Any row will do: NaN times it is NaN.
          row.x = 0;
          w.item[0] = static_cast<A>(NAN);
        }
        rows[group][lane] = row;
        corner_weights[group][lane] = w;
      }
      __syncwarp(kWholeWarp);
      if (channel < n.channels) {
        const int many = n.samples - first < G ? n.samples - first : G;
#pragma unroll 2
        for (int j = 0; j < many; ++j) {
          const int4 row = rows[group][j];
          const Pack<A, 4> w = corner_weights[group][j];
          const int32_t row_of[4] = {row.x, row.y, row.z, row.w};
          Pack<T, VEC> v[4];
          // All four loads are under way before the first is used.
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            if (row_of[c] >= 0) v[c] = base[row_of[c] + pack];
          }
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            if (row_of[c] >= 0) {
#pragma unroll
              for (int k = 0; k < VEC; ++k) sum[k] += w.item[c] * static_cast<A>(v[c].item[k]);
            }
          }
        }
      }
    }
    if (active && channel < n.channels) {
      Pack<T, VEC> out;
#pragma unroll
      for (int k = 0; k < VEC; ++k) out.item[k] = static_cast<T>(sum[k]);
      *reinterpret_cast<Pack<T, VEC>*>(output + unit * n.D + channel) = out;
    }
  }
}

// Adds VEC numbers to memory, each as a whole; as few transactions as the architecture has.
template <int VEC>
__device__ __forceinline__ void add_to(float* target, const float (&addend)[VEC]) {
  static_assert(VEC % 4 == 0, "four at a time");
#if __CUDA_ARCH__ >= 900
#pragma unroll
  for (int k = 0; k < VEC; k += 4)
    atomicAdd(reinterpret_cast<float4*>(target + k),
              make_float4(addend[k], addend[k + 1], addend[k + 2], addend[k + 3]));
#else
#pragma unroll
  for (int k = 0; k < VEC; ++k) atomicAdd(target + k, addend[k]);
#endif
}
template <int VEC>
__device__ __forceinline__ void add_to(double* target, const double (&addend)[VEC]) {
#pragma unroll
  for (int k = 0; k < VEC; ++k) atomicAdd(target + k, addend[k]);
}

// `ONCE`: one chunk holds all channels, so that the gradient stays in registers.
template <typename T, typename C, typename A, int VEC, int G, bool ONCE>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(const Sizes n, const Levels levels, const T* __restrict__ grad_output,
                    const T* __restrict__ value, const C* __restrict__ locations,
                    const C* __restrict__ weights, A* __restrict__ grad_value,
                    C* __restrict__ grad_locations, C* __restrict__ grad_weights) {
  constexpr int kGroups = kThreads / G;
  __shared__ int4 rows[kGroups][G + 1];
  __shared__ Pack<A, 4> fractions[kGroups][G + 1];
  const int lane = threadIdx.x % G, group = threadIdx.x / G;
  const uint32_t wanted = blockIdx.x * kGroups + group;
  const bool active = wanted < n.units;
  const uint32_t unit = active ? wanted : n.units - 1;
  const int64_t head = unit % n.heads, image = unit / n.units_per_image;
  const int64_t origin = (image * n.S * n.M + head) * n.D;
  const Pack<T, VEC>* base = reinterpret_cast<const Pack<T, VEC>*>(value + origin);

  A grad[VEC];
  const auto read_gradient = [&](int32_t channel) {
    Pack<T, VEC> g = {};
    if (active && channel < n.channels)
      g = *reinterpret_cast<const Pack<T, VEC>*>(grad_output + unit * n.D + channel);
#pragma unroll
    for (int k = 0; k < VEC; ++k) grad[k] = static_cast<A>(g.item[k]);
  };
  if (ONCE) read_gradient(lane * VEC);

  for (int32_t first = 0; first < n.samples; first += G) {
    // The sample of this thread, which it writes the gradients of in the end.
    const int32_t own = first + lane;
    const int64_t at = static_cast<int64_t>(unit) * n.samples + own;
    A width = 0, height = 0, attention = 0;
    bool nan = false;
    __syncwarp(kWholeWarp);
    if (own < n.samples) {
      const int32_t level = own / n.points;
      const Pack<C, 2> xy = *reinterpret_cast<const Pack<C, 2>*>(locations + 2 * at);
      attention = static_cast<A>(weights[at]);
      width = static_cast<A>(levels.width[level]);
      height = static_cast<A>(levels.height[level]);
      const Place<A> p = locate<A>(xy.item[0], xy.item[1], levels.height[level],
                                   levels.width[level], levels.start[level]);
      nan = p.nan;
      rows[group][lane] = packs_of(p, n.row_packs);
      fractions[group][lane] = {{p.fx, p.fy, attention, A(0)}};
    }
    __syncwarp(kWholeWarp);
    A own_sum = 0, own_x = 0, own_y = 0;
    const int many = n.samples - first < G ? n.samples - first : G;
    for (int j = 0; j < many; ++j) {
      const int4 row = rows[group][j];
      const Pack<A, 4> f = fractions[group][j];
      const int32_t row_of[4] = {row.x, row.y, row.z, row.w};
      const A fx = f.item[0], fy = f.item[1];
      const A bilinear[4] = {(A(1) - fy) * (A(1) - fx), (A(1) - fy) * fx, fy * (A(1) - fx),
                             fy * fx};
      A dot[4] = {0, 0, 0, 0};
      for (int32_t chunk = 0; chunk < n.channels; chunk += G * VEC) {
        const int32_t channel = chunk + lane * VEC, pack = channel / VEC;
        if (!ONCE) read_gradient(channel);
        if (active && channel < n.channels) {
          Pack<T, VEC> v[4];
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            if (row_of[c] >= 0) v[c] = base[row_of[c] + pack];
          }
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            if (row_of[c] >= 0) {
              const A w = f.item[2] * bilinear[c];
              A addend[VEC];
#pragma unroll
              for (int k = 0; k < VEC; ++k) {
                dot[c] += grad[k] * static_cast<A>(v[c].item[k]);
                addend[k] = w * grad[k];
              }
              const int64_t at_corner = static_cast<int64_t>(row_of[c] + pack) * VEC;
              add_to<VEC>(grad_value + origin + at_corner, addend);
            }
          }
        }
        if (ONCE) break;
      }
      // A corner outside the level counts as zero: its dot is 0.
      A sum = bilinear[0] * dot[0] + bilinear[1] * dot[1] + bilinear[2] * dot[2] +
              bilinear[3] * dot[3];
      A by_x = (A(1) - fy) * (dot[1] - dot[0]) + fy * (dot[3] - dot[2]);
      A by_y = (A(1) - fx) * (dot[2] - dot[0]) + fx * (dot[3] - dot[1]);
#pragma unroll
      for (int distance = G / 2; distance > 0; distance /= 2) {
        sum += __shfl_xor_sync(kWholeWarp, sum, distance, G);
        by_x += __shfl_xor_sync(kWholeWarp, by_x, distance, G);
        by_y += __shfl_xor_sync(kWholeWarp, by_y, distance, G);
      }
      if (lane == j) {
        own_sum = sum;
        own_x = by_x;
        own_y = by_y;
      }
    }
    if (active && own < n.samples) {
      Pack<C, 2> xy = {
          {static_cast<C>(attention * own_x * width), static_cast<C>(attention * own_y * height)}};
      if (nan) {
        own_sum = static_cast<A>(NAN);
        xy.item[0] = xy.item[1] = static_cast<C>(own_sum);
      } else if (rows[group][lane].x < 0 && rows[group][lane].y < 0 && rows[group][lane].z < 0 &&
                 rows[group][lane].w < 0) {
        // Outside, fractions of huge numbers may be anything.
        own_sum = A(0);
        xy.item[0] = xy.item[1] = static_cast<C>(A(0));
      }
      grad_weights[at] = static_cast<C>(own_sum);
      *reinterpret_cast<Pack<C, 2>*>(grad_locations + 2 * at) = xy;
    }
  }
}

struct Launch {
  Shapes n;
  Levels levels;
  cudaStream_t stream;
};

// Blocks for groups of G threads.
template <int G>
unsigned blocks(const Shapes& n) {
  const int64_t per_block = kThreads / G;
  return static_cast<unsigned>((n.B * n.Q * n.M + per_block - 1) / per_block);
}

template <int VEC>
Sizes sizes_of(const Shapes& n) {
  // What is larger does not fit a GPU: 2^31 packs of 16 bytes are 32 GiB of one image.
  constexpr int64_t kMost = int64_t{1} << 31;
  STD_TORCH_CHECK(n.B * n.Q * n.M < kMost - kThreads, "B * Q * M must be below 2^31");
  STD_TORCH_CHECK(n.L * n.P < kMost, "L * P must be below 2^31");
  STD_TORCH_CHECK(n.S * n.M * n.D / VEC < kMost, "an image's value must be below 32 GiB");
  Sizes sizes;
  sizes.S = n.S;
  sizes.M = n.M;
  sizes.D = n.D;
  sizes.units = static_cast<uint32_t>(n.B * n.Q * n.M);
  sizes.heads = static_cast<uint32_t>(n.M);
  sizes.units_per_image = static_cast<uint32_t>(n.Q * n.M);
  sizes.samples = static_cast<int32_t>(n.L * n.P);
  sizes.points = static_cast<int32_t>(n.P);
  sizes.channels = static_cast<int32_t>(n.D);
  sizes.row_packs = static_cast<int32_t>(n.M * n.D / VEC);
  return sizes;
}

template <typename T, typename C, typename A, int VEC, int G>
void launch_forward(const Launch& launch, const T* value, const C* locations, const C* weights,
                    T* output) {
  forward_kernel<T, C, A, VEC, G><<<blocks<G>(launch.n), kThreads, 0, launch.stream>>>(
      sizes_of<VEC>(launch.n), launch.levels, value, locations, weights, output);
}

template <typename T, typename C, typename A, int VEC, int G>
void launch_backward(const Launch& launch, const T* grad_output, const T* value,
                     const C* locations, const C* weights, A* grad_value, C* grad_locations,
                     C* grad_weights) {
  if (launch.n.D <= G * VEC)
    backward_kernel<T, C, A, VEC, G, true><<<blocks<G>(launch.n), kThreads, 0, launch.stream>>>(
        sizes_of<VEC>(launch.n), launch.levels, grad_output, value, locations, weights, grad_value,
        grad_locations, grad_weights);
  else
    backward_kernel<T, C, A, VEC, G, false><<<blocks<G>(launch.n), kThreads, 0, launch.stream>>>(
        sizes_of<VEC>(launch.n), launch.levels, grad_output, value, locations, weights, grad_value,
        grad_locations, grad_weights);
}

// The fewest threads that hold D channels at once, up to a warp; more channels take turns.
#define MASK2FORMER_MT_BY_GROUP(VEC, function, ...)                             \
  {                                                                             \
    const int64_t vectors = (n.D + (VEC) - 1) / (VEC);                          \
    if (vectors <= 4) function<T, C, A, VEC, 4>(__VA_ARGS__);                   \
    else if (vectors <= 8) function<T, C, A, VEC, 8>(__VA_ARGS__);              \
    else if (vectors <= 16) function<T, C, A, VEC, 16>(__VA_ARGS__);            \
    else function<T, C, A, VEC, 32>(__VA_ARGS__);                               \
  }

template <typename T, typename C, typename A>
void forward(const Launch& launch, const Tensor& value, const Tensor& locations,
             const Tensor& weights, Tensor& output) {
  const Shapes& n = launch.n;
  const T* v = static_cast<const T*>(value.const_data_ptr());
  const C* l = static_cast<const C*>(locations.const_data_ptr());
  const C* w = static_cast<const C*>(weights.const_data_ptr());
  T* o = static_cast<T*>(output.mutable_data_ptr());
  constexpr int VEC = 16 / sizeof(T);
  if (n.D % VEC == 0)
    MASK2FORMER_MT_BY_GROUP(VEC, launch_forward, launch, v, l, w, o)
  else
    // Half precision and a D such as 12: half as wide.
    launch_forward<T, C, A, (VEC > 4 ? 4 : VEC), 8>(launch, v, l, w, o);
}

template <typename T, typename C, typename A>
void backward(const Launch& launch, const Tensor& grad_output, const Tensor& value,
              const Tensor& locations, const Tensor& weights, Tensor& grad_value,
              Tensor& grad_locations, Tensor& grad_weights) {
  const Shapes& n = launch.n;
  const T* g = static_cast<const T*>(grad_output.const_data_ptr());
  const T* v = static_cast<const T*>(value.const_data_ptr());
  const C* l = static_cast<const C*>(locations.const_data_ptr());
  const C* w = static_cast<const C*>(weights.const_data_ptr());
  A* gv = static_cast<A*>(grad_value.mutable_data_ptr());
  C* gl = static_cast<C*>(grad_locations.mutable_data_ptr());
  C* gw = static_cast<C*>(grad_weights.mutable_data_ptr());
  constexpr int VEC = 16 / sizeof(T);
  if (n.D % VEC == 0)
    MASK2FORMER_MT_BY_GROUP(VEC, launch_backward, launch, g, v, l, w, gv, gl, gw)
  else
    launch_backward<T, C, A, (VEC > 4 ? 4 : VEC), 8>(launch, g, v, l, w, gv, gl, gw);
}

Launch prepare(const Tensor& value, const std::vector<int64_t>& spatial_shapes, const Shapes& n) {
  STD_TORCH_CHECK(n.D % 4 == 0, "value must have a multiple of 4 channels per head on a GPU");
  STD_TORCH_CHECK(n.L <= kMaxLevels, "at most 16 levels on a GPU");
  Launch launch{n, {}, nullptr};
  int64_t start = 0;
  for (int64_t l = 0; l < n.L; ++l) {
    launch.levels.height[l] = static_cast<int32_t>(spatial_shapes[2 * l]);
    launch.levels.width[l] = static_cast<int32_t>(spatial_shapes[2 * l + 1]);
    launch.levels.start[l] = static_cast<int32_t>(start);
    start += spatial_shapes[2 * l] * spatial_shapes[2 * l + 1];
  }
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(value.get_device_index(), &stream));
  launch.stream = static_cast<cudaStream_t>(stream);
  return launch;
}

// Contiguous, on value's device, and where 128-bit loads may start: a view need not begin there.
Tensor loadable(const Tensor& tensor, const Tensor& value) {
  STD_TORCH_CHECK(tensor.is_cuda() && tensor.get_device_index() == value.get_device_index(),
                  "all tensors must be on value's device");
  const Tensor result = torch::stable::contiguous(tensor);
  const bool aligned = reinterpret_cast<uintptr_t>(result.const_data_ptr()) % 16 == 0;
  return aligned ? result : torch::stable::clone(result);
}

Tensor ms_deform_attn_cuda(const Tensor& value_any, const std::vector<int64_t>& spatial_shapes,
                           const Tensor& locations_any, const Tensor& weights_any) {
  const Shapes n = check_arguments(value_any, spatial_shapes, locations_any, weights_any);
  const torch::stable::accelerator::DeviceGuard guard(value_any.get_device_index());
  const Tensor value = loadable(value_any, value_any);
  const Tensor locations = loadable(locations_any, value);
  const Tensor weights = loadable(weights_any, value);
  Tensor output = torch::stable::new_empty(value, {n.B, n.Q, n.M * n.D});
  if (n.B * n.Q * n.M * n.D == 0) return output;
  const Launch launch = prepare(value, spatial_shapes, n);
  MASK2FORMER_MT_BY_TYPE(value.scalar_type(), locations.scalar_type(), forward, launch, value,
                         locations, weights, output)
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return output;
}

std::tuple<Tensor, Tensor, Tensor> ms_deform_attn_backward_cuda(
    const Tensor& grad_any, const Tensor& value_any, const std::vector<int64_t>& spatial_shapes,
    const Tensor& locations_any, const Tensor& weights_any) {
  const Shapes n = check_arguments(value_any, spatial_shapes, locations_any, weights_any);
  check_gradient(grad_any, value_any, n);
  const torch::stable::accelerator::DeviceGuard guard(value_any.get_device_index());
  const Tensor value = loadable(value_any, value_any);
  const Tensor grad = loadable(grad_any, value);
  const Tensor locations = loadable(locations_any, value);
  const Tensor weights = loadable(weights_any, value);
  // Half precision would lose most of a sum of thousands.
  const bool wide = value.scalar_type() == ScalarType::Double;
  Tensor grad_value = torch::stable::new_zeros(
      value, {n.B, n.S, n.M, n.D}, wide ? ScalarType::Double : ScalarType::Float);
  Tensor grad_locations = torch::stable::empty_like(locations);
  Tensor grad_weights = torch::stable::empty_like(weights);
  // D = 0: nothing is read, and the gradients are zeros.
  if (n.B * n.Q * n.M != 0) {
    const Launch launch = prepare(value, spatial_shapes, n);
    MASK2FORMER_MT_BY_TYPE(value.scalar_type(), locations.scalar_type(), backward, launch, grad,
                           value, locations, weights, grad_value, grad_locations, grad_weights)
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return {torch::stable::to(grad_value, value.scalar_type()), grad_locations, grad_weights};
}

}  // namespace
}  // namespace mask2former_mt

#define MASK2FORMER_MT_TEXT_(x) #x
#define MASK2FORMER_MT_TEXT(x) MASK2FORMER_MT_TEXT_(x)

// For collect_env: what this library was compiled for.
extern "C" __attribute__((visibility("default"))) const char* mask2former_mt_cuda_build() {
  return "nvcc " MASK2FORMER_MT_TEXT(__CUDACC_VER_MAJOR__) "." MASK2FORMER_MT_TEXT(
      __CUDACC_VER_MINOR__) ", architectures " MASK2FORMER_MT_TEXT(MASK2FORMER_MT_ARCHITECTURES);
}

// The schemas are defined by the CPU library, which is loaded first.
STABLE_TORCH_LIBRARY_IMPL(mask2former_mt, CUDA, library) {
  library.impl("ms_deform_attn", TORCH_BOX(&mask2former_mt::ms_deform_attn_cuda));
  library.impl("ms_deform_attn_backward",
               TORCH_BOX(&mask2former_mt::ms_deform_attn_backward_cuda));
}
