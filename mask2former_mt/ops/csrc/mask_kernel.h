// Masks at the original size, row by row: what they need beside the result fits the cache.
//
// Included once per instruction set; see every_instruction_set.h.

typedef float Floats __attribute__((vector_size(MASK2FORMER_MT_VECTOR_BYTES)));
typedef int32_t Ints __attribute__((vector_size(MASK2FORMER_MT_VECTOR_BYTES)));
constexpr int kLanes = MASK2FORMER_MT_VECTOR_BYTES / 4;

// exp(-x) for x >= 0, within 2e-7 of it: 2^n times a polynomial of the rest.
static inline Floats exp_of_minus(Floats x) {
  const Floats most = Floats{} + 87.0f;
  x = x < most ? x : most;
  const Floats scaled = x * -1.44269504f;
  // To the nearest: the conversion cuts off, and the number is not positive.
  const Ints n = __builtin_convertvector(scaled - 0.5f, Ints);
  const Floats whole = __builtin_convertvector(n, Floats);
  // ln 2 in two parts, so that nothing is lost.
  const Floats r = (-x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  Floats p = r * 1.38888889e-3f + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  const Ints power = (n + 127) << 23;
  Floats factor;
  std::memcpy(&factor, &power, sizeof(factor));
  return p * factor;
}

// A row between two rows.
static inline void between(const float* __restrict__ low, const float* __restrict__ high,
                           float fraction, int64_t count, float* __restrict__ result) {
  const float rest = 1.0f - fraction;
#pragma GCC ivdep
  for (int64_t x = 0; x < count; ++x) result[x] = rest * low[x] + fraction * high[x];
}

// A row stretched or shrunk.
static inline void along(const Axis& axis, const float* __restrict__ row,
                         float* __restrict__ result) {
  const int32_t* __restrict__ low = axis.low.data();
  const int32_t* __restrict__ high = axis.high.data();
  const float* __restrict__ fraction = axis.fraction.data();
  const int64_t count = static_cast<int64_t>(axis.low.size());
#pragma GCC ivdep
  for (int64_t x = 0; x < count; ++x)
    result[x] = (1.0f - fraction[x]) * row[low[x]] + fraction[x] * row[high[x]];
}

// Writes where a row is above 0; adds the probabilities there. Returns how many pixels those are.
static inline int64_t threshold_row(const float* row, int64_t width, uint8_t* mask, double& sum) {
  Floats total = {};
  Ints above_count = {};
  int64_t x = 0, count = 0;
  for (; x + kLanes <= width; x += kLanes) {
    Floats v;
    std::memcpy(&v, row + x, sizeof(v));
    const Ints above = v > 0.0f;  // -1 or 0
    for (int k = 0; k < kLanes; ++k) mask[x + k] = static_cast<uint8_t>(-above[k]);
    above_count -= above;
    const Floats one = Floats{} + 1.0f;
    const Floats clean = above ? v : Floats{};
    total += above ? one / (one + exp_of_minus(clean)) : Floats{};
  }
  for (int k = 0; k < kLanes; ++k) {
    sum += total[k];
    count += above_count[k];
  }
  for (; x < width; ++x) {
    const bool above = row[x] > 0.0f;
    mask[x] = above;
    if (above) {
      sum += 1.0f / (1.0f + std::exp(-row[x]));
      ++count;
    }
  }
  return count;
}

// One mask. `scratch` has room for 3 * image width + map width + original width floats, `rows_on`
// for one byte per map row.
static void resize_mask(const Plan& plan, const float* map, float* scratch, uint8_t* rows_on,
                        uint8_t* mask, float* score, int64_t* extent) {
  const int64_t map_w = plan.map_w, image_w = plan.first_x.low.size();
  const int64_t width = plan.width, height = plan.height;
  float* kept[2] = {scratch, scratch + image_w};
  float* narrow = scratch + 2 * image_w;
  float* blended = narrow + map_w;  // of the image's width
  float* wide = blended + image_w;  // of the original's width
  // Between rows that are nowhere above 0 there is nothing above 0.
  for (int64_t y = 0; y < plan.map_h; ++y) {
    const float* row = map + y * map_w;
    float most = 0.0f;
    // What is no number is not greater, and covers up no other.
    for (int64_t x = 0; x < map_w; ++x) most = row[x] > most ? row[x] : most;
    rows_on[y] = most > 0.0f;
  }
  const auto first_row_on = [&](int64_t y) {
    return rows_on[plan.first_y.low[y]] || rows_on[plan.first_y.high[y]];
  };
  const auto first_row = [&](int64_t y, float* result) {
    between(map + plan.first_y.low[y] * map_w, map + plan.first_y.high[y] * map_w,
            plan.first_y.fraction[y], map_w, narrow);
    along(plan.first_x, narrow, result);
  };
  int64_t kept_row[2] = {-1, -1};
  double sum = 0;
  int64_t count = 0, left = width, right = 0, top = height, bottom = 0;
  for (int64_t y = 0; y < height; ++y) {
    uint8_t* out = mask + y * width;
    const int64_t low = plan.two_steps ? plan.second_y.low[y] : y;
    const int64_t high = plan.two_steps ? plan.second_y.high[y] : y;
    if (!first_row_on(low) && !first_row_on(high)) {
      std::memset(out, 0, width);
      continue;
    }
    if (plan.two_steps) {
      for (const int64_t row : {low, high}) {
        if (kept_row[row & 1] != row) first_row(row, kept[row & 1]);
        kept_row[row & 1] = row;
      }
      between(kept[low & 1], kept[high & 1], plan.second_y.fraction[y], image_w, blended);
      along(plan.second_x, blended, wide);
    } else {
      first_row(y, wide);
    }
    const int64_t here = threshold_row(wide, width, out, sum);
    if (here == 0) continue;
    count += here;
    top = top < y ? top : y;
    bottom = y + 1;
    int64_t x = 0;
    while (!out[x]) ++x;
    left = left < x ? left : x;
    x = width;
    while (!out[x - 1]) --x;
    right = right > x ? right : x;
  }
  *score = static_cast<float>(sum / (static_cast<double>(count) + 1e-6));
  extent[0] = count ? left : 0;
  extent[1] = count ? top : 0;
  extent[2] = right;
  extent[3] = bottom;
}
