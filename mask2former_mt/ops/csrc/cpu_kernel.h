// The CPU kernels of multi-scale deformable attention, compiled once per instruction set.
//
// This file is included several times, each time in a namespace of its own and with other target
// options; it must include nothing itself. See cpu.cpp.
//
// B images, S positions over all levels, M heads, D channels per head, Q queries, L levels,
// P points. T is the storage type, A the type of the arithmetic.

// One bilinear sample: up to four rows of `value` and their weights.
template <typename A>
struct Sample {
  int64_t row[4];  // position in [0, S), valid where weight is used
  A weight[4];     // bilinear weight; 0 for a corner outside the level
  A dx[4], dy[4];  // derivative of the bilinear weight by x and y, in 1 / pixel
  bool inside;     // false: every corner is outside, or the location is NaN
  bool nan;        // the location is not finite: the result is NaN
};

// Where a location in [0, 1] of a level falls: corners in the order (0,0) (0,1) (1,0) (1,1), yx.
template <typename A>
static inline Sample<A> locate(A location_x, A location_y, int64_t height, int64_t width,
                               int64_t level_start) {
  Sample<A> s;
  const A x = location_x * static_cast<A>(width) - A(0.5);
  const A y = location_y * static_cast<A>(height) - A(0.5);
  // An infinite location is none either: infinity minus itself is NaN.
  s.nan = !(x - x == A(0)) || !(y - y == A(0));
  // Written so that NaN is not inside; an integer cast of it would be undefined.
  s.inside = x > A(-1) && y > A(-1) && x < static_cast<A>(width) && y < static_cast<A>(height);
  if (!s.inside) return s;
  const int64_t x0 = static_cast<int64_t>(x + A(1)) - 1;  // floor: x > -1
  const int64_t y0 = static_cast<int64_t>(y + A(1)) - 1;
  const A fx = x - static_cast<A>(x0), fy = y - static_cast<A>(y0);
  for (int c = 0; c < 4; ++c) {
    const int64_t cx = x0 + (c & 1), cy = y0 + (c >> 1);
    const A wx = (c & 1) ? fx : A(1) - fx, wy = (c >> 1) ? fy : A(1) - fy;
    const bool ok = cx >= 0 && cx < width && cy >= 0 && cy < height;
    s.row[c] = ok ? level_start + cy * width + cx : level_start;
    s.weight[c] = ok ? wx * wy : A(0);
    s.dx[c] = ok ? ((c & 1) ? wy : -wy) : A(0);
    s.dy[c] = ok ? ((c >> 1) ? wx : -wx) : A(0);
  }
  return s;
}

// Calls body(d) for d in [0, D), with D known to the compiler where it is a usual one.
template <int FIXED, typename Body>
static inline void over_channels(int64_t channels, const Body& body) {
  const int64_t count = FIXED ? FIXED : channels;
#pragma GCC ivdep
  for (int64_t d = 0; d < count; ++d) body(d);
}

// Queries [begin, end) of one head of one image.
template <typename T, typename A, int FIXED>
static void forward_block(const Shapes& n, const int64_t* shapes, const T* value,
                          const T* locations, const T* weights, T* output, A* sum, int64_t image,
                          int64_t head, int64_t begin, int64_t end) {
  const int64_t row_stride = n.M * n.D;
  const T* base = value + (image * n.S * n.M + head) * n.D;
  for (int64_t query = begin; query < end; ++query) {
    const int64_t at = ((image * n.Q + query) * n.M + head) * n.L * n.P;
    over_channels<FIXED>(n.D, [&](int64_t d) { sum[d] = A(0); });
    int64_t level_start = 0;
    for (int64_t level = 0; level < n.L; ++level) {
      const int64_t height = shapes[2 * level], width = shapes[2 * level + 1];
      for (int64_t point = 0; point < n.P; ++point) {
        const int64_t i = at + level * n.P + point;
        const A attention = load<A>(weights[i]);
        const Sample<A> s = locate<A>(load<A>(locations[2 * i]), load<A>(locations[2 * i + 1]),
                                      height, width, level_start);
        if (s.nan) over_channels<FIXED>(n.D, [&](int64_t d) { sum[d] += not_a_number<A>(); });
        if (!s.inside) continue;
        const T* v0 = base + s.row[0] * row_stride;
        const T* v1 = base + s.row[1] * row_stride;
        const T* v2 = base + s.row[2] * row_stride;
        const T* v3 = base + s.row[3] * row_stride;
        const A w0 = attention * s.weight[0], w1 = attention * s.weight[1];
        const A w2 = attention * s.weight[2], w3 = attention * s.weight[3];
        over_channels<FIXED>(n.D, [&](int64_t d) {
          sum[d] += w0 * load<A>(v0[d]) + w1 * load<A>(v1[d]) + w2 * load<A>(v2[d]) +
                    w3 * load<A>(v3[d]);
        });
      }
      level_start += height * width;
    }
    T* out = output + ((image * n.Q + query) * n.M + head) * n.D;
    over_channels<FIXED>(n.D, [&](int64_t d) { out[d] = store<T>(sum[d]); });
  }
}

// All queries of one head of one image. One task owns that slice of grad_value, so that no two
// threads add to one number and the order of the sums is always the same.
template <typename T, typename A, int FIXED>
static void backward_block(const Shapes& n, const int64_t* shapes, const T* grad_output,
                           const T* value, const T* locations, const T* weights,
                           A* grad_value /* (S, D), zeroed */, T* grad_locations, T* grad_weights,
                           A* grad /* (D,) */, int64_t image, int64_t head) {
  const int64_t row_stride = n.M * n.D;
  const T* base = value + (image * n.S * n.M + head) * n.D;
  for (int64_t query = 0; query < n.Q; ++query) {
    const int64_t at = ((image * n.Q + query) * n.M + head) * n.L * n.P;
    const T* out = grad_output + ((image * n.Q + query) * n.M + head) * n.D;
    over_channels<FIXED>(n.D, [&](int64_t d) { grad[d] = load<A>(out[d]); });
    int64_t level_start = 0;
    for (int64_t level = 0; level < n.L; ++level) {
      const int64_t height = shapes[2 * level], width = shapes[2 * level + 1];
      for (int64_t point = 0; point < n.P; ++point) {
        const int64_t i = at + level * n.P + point;
        const A attention = load<A>(weights[i]);
        const Sample<A> s = locate<A>(load<A>(locations[2 * i]), load<A>(locations[2 * i + 1]),
                                      height, width, level_start);
        if (!s.inside) {
          const A nothing = s.nan ? not_a_number<A>() : A(0);
          grad_weights[i] = store<T>(nothing);
          grad_locations[2 * i] = grad_locations[2 * i + 1] = store<T>(nothing);
          continue;
        }
        A sampled = 0, by_x = 0, by_y = 0;
        for (int c = 0; c < 4; ++c) {
          const T* v = base + s.row[c] * row_stride;
          A* g = grad_value + s.row[c] * n.D;
          const A w = attention * s.weight[c];
          // Eight partial sums: a fixed order that the compiler may keep in registers.
          A dot[8] = {0, 0, 0, 0, 0, 0, 0, 0};
          const int64_t count = FIXED ? FIXED : n.D;
          int64_t d = 0;
          for (; d + 8 <= count; d += 8) {
            for (int k = 0; k < 8; ++k) {
              dot[k] += grad[d + k] * load<A>(v[d + k]);
              g[d + k] += w * grad[d + k];
            }
          }
          for (; d < count; ++d) {
            dot[0] += grad[d] * load<A>(v[d]);
            g[d] += w * grad[d];
          }
          const A total = ((dot[0] + dot[4]) + (dot[1] + dot[5])) +
                          ((dot[2] + dot[6]) + (dot[3] + dot[7]));
          sampled += s.weight[c] * total;
          by_x += s.dx[c] * total;
          by_y += s.dy[c] * total;
        }
        grad_weights[i] = store<T>(sampled);
        grad_locations[2 * i] = store<T>(attention * by_x * static_cast<A>(width));
        grad_locations[2 * i + 1] = store<T>(attention * by_y * static_cast<A>(height));
      }
      level_start += height * width;
    }
  }
}
