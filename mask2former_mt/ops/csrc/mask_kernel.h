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

// The rows of one mask at the original size, each made of few rows of its map. `scratch` has room
// for `scratch_size` floats.
struct MaskRows {
  const Plan& plan;
  const float* map;
  float *kept[2], *narrow, *blended, *wide;
  int64_t kept_row[2] = {-1, -1};

  static int64_t scratch_size(const Plan& plan) {
    return 3 * static_cast<int64_t>(plan.first_x.low.size()) + plan.map_w + plan.width;
  }

  MaskRows(const Plan& plan, const float* map, float* scratch) : plan(plan), map(map) {
    const int64_t image_w = plan.first_x.low.size();
    kept[0] = scratch;
    kept[1] = scratch + image_w;
    narrow = scratch + 2 * image_w;
    blended = narrow + plan.map_w;  // of the image's width
    wide = blended + image_w;       // of the original's width
  }

  void first_row(int64_t y, float* result) {
    between(map + plan.first_y.low[y] * plan.map_w, map + plan.first_y.high[y] * plan.map_w,
            plan.first_y.fraction[y], plan.map_w, narrow);
    along(plan.first_x, narrow, result);
  }

  // The logits of row y of the original; valid until the next call.
  const float* row(int64_t y) {
    if (!plan.two_steps) {
      first_row(y, wide);
      return wide;
    }
    const int64_t low = plan.second_y.low[y], high = plan.second_y.high[y];
    for (const int64_t needed : {low, high}) {
      if (kept_row[needed & 1] != needed) first_row(needed, kept[needed & 1]);
      kept_row[needed & 1] = needed;
    }
    between(kept[low & 1], kept[high & 1], plan.second_y.fraction[y],
            static_cast<int64_t>(plan.first_x.low.size()), blended);
    along(plan.second_x, blended, wide);
    return wide;
  }
};

// One mask. `rows_on` has room for one byte per map row.
static void resize_mask(const Plan& plan, const float* map, float* scratch, uint8_t* rows_on,
                        uint8_t* mask, float* score, int64_t* extent) {
  const int64_t map_w = plan.map_w, width = plan.width, height = plan.height;
  MaskRows rows(plan, map, scratch);
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
    const int64_t here = threshold_row(rows.row(y), width, out, sum);
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

// What each pixel of some rows goes to: the mask of the largest weight times probability, of equal
// ones the first. Row by row of the band, so that it stays in the cache while all masks go over it.
//
// `most` and `winner` hold the band's pixels, at first -1 and anything; `winner` gets twice the
// mask's number, plus 1 where the mask's own probability is at least one half. `area` and `sum` get
// per mask the number of such pixels in the band, and the sum of their probabilities.
static void compete(const Plan& plan, const float* maps, const float* weights, int64_t count,
                    int64_t first_y, int64_t last_y, float* scratch, float* most, int32_t* winner,
                    int64_t* area, double* sum) {
  const int64_t width = plan.width;
  const Floats one = Floats{} + 1.0f, half = Floats{} + 0.5f;
  for (int64_t i = 0; i < count; ++i) {
    MaskRows rows(plan, maps + i * plan.map_h * plan.map_w, scratch);
    const float weight = weights[i];
    const int32_t number = static_cast<int32_t>(2 * i);
    int64_t inside_count = 0;
    double inside_sum = 0;
    for (int64_t y = first_y; y < last_y; ++y) {
      const float* row = rows.row(y);
      float* best = most + (y - first_y) * width;
      int32_t* code = winner + (y - first_y) * width;
      Floats total = {};
      Ints inside_lanes = {};
      int64_t x = 0;
      for (; x + kLanes <= width; x += kLanes) {
        Floats v, b;
        Ints c;
        std::memcpy(&v, row + x, sizeof(v));
        std::memcpy(&b, best + x, sizeof(b));
        std::memcpy(&c, code + x, sizeof(c));
        const Floats decay = exp_of_minus(v < 0.0f ? -v : v);
        Floats p = (v < 0.0f ? decay : one) / (one + decay);
        p = v == v ? p : Floats{};  // what is no number is outside
        const Ints inside = p >= half;
        const Floats value = p * weight;
        const Ints better = value > b;
        b = better ? value : b;
        c = better ? number - inside : c;
        std::memcpy(best + x, &b, sizeof(b));
        std::memcpy(code + x, &c, sizeof(c));
        total += inside ? p : Floats{};
        inside_lanes -= inside;
      }
      for (int k = 0; k < kLanes; ++k) {
        inside_sum += total[k];
        inside_count += inside_lanes[k];
      }
      for (; x < width; ++x) {
        const float p = row[x] == row[x] ? 1.0f / (1.0f + std::exp(-row[x])) : 0.0f;
        const bool inside = p >= 0.5f;
        const float value = p * weight;
        if (value > best[x]) {
          best[x] = value;
          code[x] = number + inside;
        }
        if (inside) {
          inside_sum += p;
          ++inside_count;
        }
      }
    }
    area[i] = inside_count;
    sum[i] = inside_sum;
  }
}
