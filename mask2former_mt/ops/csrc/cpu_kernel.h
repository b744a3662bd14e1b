// The CPU kernels of multi-scale deformable attention, compiled once per instruction set.
//
// This file is included several times, each time in a namespace of its own, with other target
// options and another MASK2FORMER_MT_VECTOR_BYTES; it must include nothing itself. See cpu.cpp.
//
// B images, S positions over all levels, M heads, D channels per head, Q queries, L levels,
// P points. T is the storage type of value, C that of locations and weights, A the type of the
// arithmetic.

// As many numbers as a register of this instruction set holds.
template <typename A, int BYTES = MASK2FORMER_MT_VECTOR_BYTES>
struct Register {
  typedef A type __attribute__((vector_size(BYTES)));
  static constexpr int lanes = BYTES / sizeof(A);
};

template <typename A, typename T>
static inline typename Register<A>::type load_vector(const T* from) {
  typename Register<A>::type result;
  if constexpr (std::is_same_v<A, T>) {
    std::memcpy(&result, from, sizeof(result));
  } else if constexpr (std::is_same_v<T, BFloat16>) {
    // bfloat16 is the upper half of a float.
    constexpr int bytes = MASK2FORMER_MT_VECTOR_BYTES;
    uint16_t __attribute__((vector_size(bytes / 2))) upper;
    std::memcpy(&upper, from, sizeof(upper));
    typedef uint32_t Words __attribute__((vector_size(bytes)));
    const Words words = __builtin_convertvector(upper, Words) << 16;
    std::memcpy(&result, &words, sizeof(result));
  } else {
    for (int k = 0; k < Register<A>::lanes; ++k) result[k] = load<A>(from[k]);
  }
  return result;
}
template <typename A>
static inline void store_vector(A* to, const typename Register<A>::type& vector) {
  std::memcpy(to, &vector, sizeof(vector));
}

// The sum of all lanes, always in the same order: halves added until one number is left.
template <typename A, int BYTES>
static inline A sum_of_lanes(const typename Register<A, BYTES>::type& vector) {
  if constexpr (BYTES == 2 * sizeof(A)) {
    return vector[0] + vector[1];
  } else {
    typename Register<A, BYTES / 2>::type halves[2];
    std::memcpy(halves, &vector, sizeof(vector));
    return sum_of_lanes<A, BYTES / 2>(halves[0] + halves[1]);
  }
}

// Where up to kStage samples of one query and head fall, number by number, so that the compiler
// makes vectors of it. Corners in the order (0,0) (0,1) (1,0) (1,1), yx.
template <typename A>
struct Stage {
  int32_t row[4][kStage];           // position in [0, S); of a corner outside, the nearest inside
  A x_weight[2][kStage];            // bilinear weight of the left and right column; 0 outside
  A y_weight[2][kStage];            // ... of the upper and lower row
  A x_slope[2][kStage];             // derivative of x_weight, per pixel
  A y_slope[2][kStage];
  A attention[kStage];
  A poison[kStage];                 // 0; NaN where the location is not finite
};

template <typename C, typename A>
static inline void stage_samples(const Grid<A>& grid, int64_t first, int count,
                                 const C* __restrict__ locations, const C* __restrict__ weights,
                                 Stage<A>& stage) {
  const int32_t* __restrict__ widths = grid.width.data() + first;
  const int32_t* __restrict__ heights = grid.height.data() + first;
  const int32_t* __restrict__ starts = grid.start.data() + first;
#pragma GCC ivdep
  for (int i = 0; i < count; ++i) {
    const int32_t w = widths[i], h = heights[i];
    const A x = load<A>(locations[2 * i]) * static_cast<A>(w) - A(0.5);
    const A y = load<A>(locations[2 * i + 1]) * static_cast<A>(h) - A(0.5);
    // Infinity minus itself is NaN; a finite number minus itself is 0.
    stage.poison[i] = (x - x) + (y - y);
    stage.attention[i] = load<A>(weights[i]);
    // Two pixels outside is outside enough, and fits an int; NaN is none of it, and goes there.
    const A low_x = x > A(-2) ? x : A(-2), low_y = y > A(-2) ? y : A(-2);
    const A end_x = static_cast<A>(w + 1), end_y = static_cast<A>(h + 1);
    const A near_x = low_x < end_x ? low_x : end_x, near_y = low_y < end_y ? low_y : end_y;
    int32_t x0 = static_cast<int32_t>(near_x), y0 = static_cast<int32_t>(near_y);
    x0 -= static_cast<A>(x0) > near_x;
    y0 -= static_cast<A>(y0) > near_y;
    const A fx = near_x - static_cast<A>(x0), fy = near_y - static_cast<A>(y0);
    const bool left = (x0 >= 0) & (x0 < w), right = (x0 >= -1) & (x0 < w - 1);
    const bool upper = (y0 >= 0) & (y0 < h), lower = (y0 >= -1) & (y0 < h - 1);
    stage.x_weight[0][i] = left ? A(1) - fx : A(0);
    stage.x_weight[1][i] = right ? fx : A(0);
    stage.y_weight[0][i] = upper ? A(1) - fy : A(0);
    stage.y_weight[1][i] = lower ? fy : A(0);
    stage.x_slope[0][i] = left ? A(-1) : A(0);
    stage.x_slope[1][i] = right ? A(1) : A(0);
    stage.y_slope[0][i] = upper ? A(-1) : A(0);
    stage.y_slope[1][i] = lower ? A(1) : A(0);
    int32_t xl = x0 > 0 ? x0 : 0, xr = x0 > -1 ? x0 + 1 : 0;
    int32_t yl = y0 > 0 ? y0 : 0, yr = y0 > -1 ? y0 + 1 : 0;
    xl = xl < w ? xl : w - 1;
    xr = xr < w ? xr : w - 1;
    yl = yl < h ? yl : h - 1;
    yr = yr < h ? yr : h - 1;
    const int32_t start = starts[i];
    stage.row[0][i] = start + yl * w + xl;
    stage.row[1][i] = start + yl * w + xr;
    stage.row[2][i] = start + yr * w + xl;
    stage.row[3][i] = start + yr * w + xr;
  }
}

// Adds the staged samples of NV registers of channels to `sum`, in registers throughout.
template <typename T, typename A, int NV>
static inline void add_samples(const Stage<A>& stage, const A (&weight)[4][kStage], int count,
                               const T* base, int64_t stride, A* sum) {
  constexpr int lanes = Register<A>::lanes;
  typename Register<A>::type total[NV];
  for (int v = 0; v < NV; ++v) total[v] = load_vector<A>(sum + v * lanes);
  for (int i = 0; i < count; ++i) {
    for (int c = 0; c < 4; ++c) {
      const T* row = base + stage.row[c][i] * stride;
      const A w = weight[c][i];
      for (int v = 0; v < NV; ++v) total[v] += w * load_vector<A>(row + v * lanes);
    }
  }
  for (int v = 0; v < NV; ++v) store_vector<A>(sum + v * lanes, total[v]);
}

// Queries [begin, end) of one head of one image. `base` is the head's first row of value, `stride`
// the distance between rows; `sum` has room for D numbers.
template <typename T, typename C, typename A>
static void forward_block(const Shapes& n, const Grid<A>& grid, const T* base, int64_t stride,
                          const C* locations, const C* weights, T* output, A* sum, int64_t image,
                          int64_t head, int64_t begin, int64_t end) {
  constexpr int lanes = Register<A>::lanes;
  const int64_t samples = n.L * n.P;
  Stage<A> stage;
  A weight[4][kStage];
  for (int64_t query = begin; query < end; ++query) {
    const int64_t unit = (image * n.Q + query) * n.M + head, at = unit * samples;
    for (int64_t d = 0; d < n.D; ++d) sum[d] = A(0);
    for (int64_t first = 0; first < samples; first += kStage) {
      const int count = static_cast<int>(samples - first < kStage ? samples - first : kStage);
      stage_samples<C, A>(grid, first, count, locations + 2 * (at + first), weights + at + first,
                          stage);
#pragma GCC ivdep
      for (int i = 0; i < count; ++i) {
        const A upper = (stage.attention[i] + stage.poison[i]) * stage.y_weight[0][i];
        const A lower = (stage.attention[i] + stage.poison[i]) * stage.y_weight[1][i];
        weight[0][i] = upper * stage.x_weight[0][i];
        weight[1][i] = upper * stage.x_weight[1][i];
        weight[2][i] = lower * stage.x_weight[0][i];
        weight[3][i] = lower * stage.x_weight[1][i];
      }
      int64_t d = 0;
      for (; d + 8 * lanes <= n.D; d += 8 * lanes)
        add_samples<T, A, 8>(stage, weight, count, base + d, stride, sum + d);
      if (d + 4 * lanes <= n.D) {
        add_samples<T, A, 4>(stage, weight, count, base + d, stride, sum + d);
        d += 4 * lanes;
      }
      if (d + 2 * lanes <= n.D) {
        add_samples<T, A, 2>(stage, weight, count, base + d, stride, sum + d);
        d += 2 * lanes;
      }
      if (d + lanes <= n.D) {
        add_samples<T, A, 1>(stage, weight, count, base + d, stride, sum + d);
        d += lanes;
      }
      for (; d < n.D; ++d)
        for (int i = 0; i < count; ++i)
          for (int c = 0; c < 4; ++c)
            sum[d] += weight[c][i] * load<A>(base[stage.row[c][i] * stride + d]);
    }
    T* out = output + unit * n.D;
    for (int64_t d = 0; d < n.D; ++d) out[d] = store<T>(sum[d]);
  }
}

// The three sums of a sample's gradients, before their lanes are added up.
template <typename A>
struct Partial {
  typename Register<A>::type by_attention, by_x, by_y;
};

// One sample after another: its part in grad_value (S, D), and its own gradients, over NV
// registers of channels.
template <typename T, typename A, int NV>
static inline void backward_samples(const Stage<A>& stage, const A (&weight)[4][kStage], int count,
                                    const T* base, int64_t stride, const A* grad, A* grad_value,
                                    int64_t channels, Partial<A>* partial) {
  constexpr int lanes = Register<A>::lanes;
  using V = typename Register<A>::type;
  V gradient[NV];
  for (int v = 0; v < NV; ++v) gradient[v] = load_vector<A>(grad + v * lanes);
  for (int i = 0; i < count; ++i) {
    V dot[4];
    for (int c = 0; c < 4; ++c) {
      const T* row = base + stage.row[c][i] * stride;
      A* target = grad_value + stage.row[c][i] * channels;
      const A w = weight[c][i];
      dot[c] = gradient[0] * load_vector<A>(row);
      for (int v = 1; v < NV; ++v) dot[c] += gradient[v] * load_vector<A>(row + v * lanes);
      for (int v = 0; v < NV; ++v)
        store_vector<A>(target + v * lanes,
                        load_vector<A>(target + v * lanes) + w * gradient[v]);
    }
    const A x0 = stage.x_weight[0][i], x1 = stage.x_weight[1][i];
    const A y0 = stage.y_weight[0][i], y1 = stage.y_weight[1][i];
    const V upper = x0 * dot[0] + x1 * dot[1], lower = x0 * dot[2] + x1 * dot[3];
    partial[i].by_attention += y0 * upper + y1 * lower;
    partial[i].by_y += stage.y_slope[0][i] * upper + stage.y_slope[1][i] * lower;
    partial[i].by_x += y0 * (stage.x_slope[0][i] * dot[0] + stage.x_slope[1][i] * dot[1]) +
                       y1 * (stage.x_slope[0][i] * dot[2] + stage.x_slope[1][i] * dot[3]);
  }
}

// All queries of one head of one image. One task owns that slice of grad_value, so that no two
// threads add to one number and the order of the sums is always the same.
template <typename T, typename C, typename A>
static void backward_block(const Shapes& n, const Grid<A>& grid, const T* grad_output,
                           const T* base, int64_t stride, const C* locations, const C* weights,
                           A* grad_value /* (S, D), zeroed */, C* grad_locations, C* grad_weights,
                           A* grad /* (D,) */, int64_t image, int64_t head) {
  constexpr int lanes = Register<A>::lanes;
  const int64_t samples = n.L * n.P;
  Stage<A> stage;
  A weight[4][kStage];
  Partial<A> partial[kStage];
  for (int64_t query = 0; query < n.Q; ++query) {
    const int64_t unit = (image * n.Q + query) * n.M + head;
    const T* out = grad_output + unit * n.D;
    for (int64_t d = 0; d < n.D; ++d) grad[d] = load<A>(out[d]);
    for (int64_t first = 0; first < samples; first += kStage) {
      const int64_t at = unit * samples + first;
      const int count = static_cast<int>(samples - first < kStage ? samples - first : kStage);
      stage_samples<C, A>(grid, first, count, locations + 2 * at, weights + at, stage);
#pragma GCC ivdep
      for (int i = 0; i < count; ++i) {
        const A upper = stage.attention[i] * stage.y_weight[0][i];
        const A lower = stage.attention[i] * stage.y_weight[1][i];
        weight[0][i] = upper * stage.x_weight[0][i];
        weight[1][i] = upper * stage.x_weight[1][i];
        weight[2][i] = lower * stage.x_weight[0][i];
        weight[3][i] = lower * stage.x_weight[1][i];
      }
      std::memset(static_cast<void*>(partial), 0, count * sizeof(partial[0]));
      int64_t d = 0;
      for (; d + 4 * lanes <= n.D; d += 4 * lanes)
        backward_samples<T, A, 4>(stage, weight, count, base + d, stride, grad + d, grad_value + d,
                                  n.D, partial);
      if (d + 2 * lanes <= n.D) {
        backward_samples<T, A, 2>(stage, weight, count, base + d, stride, grad + d, grad_value + d,
                                  n.D, partial);
        d += 2 * lanes;
      }
      if (d + lanes <= n.D) {
        backward_samples<T, A, 1>(stage, weight, count, base + d, stride, grad + d, grad_value + d,
                                  n.D, partial);
        d += lanes;
      }
      for (; d < n.D; ++d) {
        for (int i = 0; i < count; ++i) {
          A dot[4];
          for (int c = 0; c < 4; ++c) {
            dot[c] = grad[d] * load<A>(base[stage.row[c][i] * stride + d]);
            grad_value[stage.row[c][i] * n.D + d] += weight[c][i] * grad[d];
          }
          const A upper = stage.x_weight[0][i] * dot[0] + stage.x_weight[1][i] * dot[1];
          const A lower = stage.x_weight[0][i] * dot[2] + stage.x_weight[1][i] * dot[3];
          partial[i].by_attention[0] += stage.y_weight[0][i] * upper + stage.y_weight[1][i] * lower;
          partial[i].by_y[0] += stage.y_slope[0][i] * upper + stage.y_slope[1][i] * lower;
          partial[i].by_x[0] +=
              stage.y_weight[0][i] *
                  (stage.x_slope[0][i] * dot[0] + stage.x_slope[1][i] * dot[1]) +
              stage.y_weight[1][i] *
                  (stage.x_slope[0][i] * dot[2] + stage.x_slope[1][i] * dot[3]);
        }
      }
      for (int i = 0; i < count; ++i) {
        constexpr int bytes = MASK2FORMER_MT_VECTOR_BYTES;
        const A scale_x = stage.attention[i] * static_cast<A>(grid.width[first + i]);
        const A scale_y = stage.attention[i] * static_cast<A>(grid.height[first + i]);
        const A poison = stage.poison[i];
        grad_weights[at + i] =
            store<C>(sum_of_lanes<A, bytes>(partial[i].by_attention) + poison);
        grad_locations[2 * (at + i)] =
            store<C>(scale_x * sum_of_lanes<A, bytes>(partial[i].by_x) + poison);
        grad_locations[2 * (at + i) + 1] =
            store<C>(scale_y * sum_of_lanes<A, bytes>(partial[i].by_y) + poison);
      }
    }
  }
}
