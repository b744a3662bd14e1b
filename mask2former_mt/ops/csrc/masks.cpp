// Mask logits to binary masks at the original size, their scores and extents, or to the mask that
// each pixel goes to; and masks to COCO's run lengths; on the CPU.
//
// Source: Mask2Former's published two steps: bilinear to the padded size, crop, bilinear to the
// original size.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include "instruction_set.h"
#include "run_lengths.h"

namespace mask2former_mt {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Of each of the first `count` of `to` pixels: its two neighbours of `from`, and where between.
struct Axis {
  std::vector<int32_t> low, high;
  std::vector<float> fraction;

  Axis() = default;
  Axis(int64_t from, int64_t to, int64_t count) {
    const float scale = static_cast<float>(from) / static_cast<float>(to);
    for (int64_t i = 0; i < count; ++i) {
      // Centres on centres; beyond the first centre its value holds.
      float place = (static_cast<float>(i) + 0.5f) * scale - 0.5f;
      place = place > 0.0f ? place : 0.0f;
      const int64_t before = static_cast<int64_t>(place) < from - 1 ? static_cast<int64_t>(place)
                                                                     : from - 1;
      low.push_back(static_cast<int32_t>(before));
      high.push_back(static_cast<int32_t>(before < from - 1 ? before + 1 : before));
      fraction.push_back(place - static_cast<float>(before));
    }
  }
};

// What is the same for all masks of an image.
struct Plan {
  int64_t map_h, map_w, height, width;
  bool two_steps;
  Axis first_y, first_x, second_y, second_x;
};

#define MASK2FORMER_MT_KERNELS "mask_kernel.h"
#include "every_instruction_set.h"

// Rows of the original that all masks go over before the next ones.
constexpr int64_t kBand = 16;

Plan plan_of(const Tensor& logits, const std::vector<int64_t>& padded,
             const std::vector<int64_t>& image, const std::vector<int64_t>& original) {
  STD_TORCH_CHECK(logits.dim() == 3, "mask_logits must be (N, h, w)");
  STD_TORCH_CHECK(logits.scalar_type() == ScalarType::Float, "mask_logits must be float32");
  STD_TORCH_CHECK(padded.size() == 2 && image.size() == 2 && original.size() == 2,
                  "sizes must be (H, W)");
  for (int i = 0; i < 2; ++i) {
    STD_TORCH_CHECK(image[i] >= 1 && original[i] >= 1 && logits.size(i + 1) >= 1,
                    "sizes must be positive");
    STD_TORCH_CHECK(image[i] <= padded[i], "image_size must not exceed padded_size");
  }
  Plan plan;
  plan.map_h = logits.size(1);
  plan.map_w = logits.size(2);
  plan.height = original[0];
  plan.width = original[1];
  plan.two_steps = image != original;
  plan.first_y = Axis(plan.map_h, padded[0], image[0]);
  plan.first_x = Axis(plan.map_w, padded[1], image[1]);
  if (plan.two_steps) {
    plan.second_y = Axis(image[0], original[0], original[0]);
    plan.second_x = Axis(image[1], original[1], original[1]);
  }
  return plan;
}

std::tuple<Tensor, Tensor, Tensor> resize_masks_cpu(const Tensor& logits_any,
                                                    const std::vector<int64_t>& padded,
                                                    const std::vector<int64_t>& image,
                                                    const std::vector<int64_t>& original) {
  const Plan plan = plan_of(logits_any, padded, image, original);
  const Tensor logits = torch::stable::contiguous(logits_any);
  const int64_t count = logits.size(0), map_h = plan.map_h, map_w = plan.map_w;
  Tensor masks = torch::stable::new_empty(logits, {count, plan.height, plan.width},
                                          ScalarType::Bool);
  Tensor scores = torch::stable::new_empty(logits, {count});
  Tensor extents = torch::stable::new_empty(logits, {count, 4}, ScalarType::Long);
  const float* maps = static_cast<const float*>(logits.const_data_ptr());
  uint8_t* mask = static_cast<uint8_t*>(masks.mutable_data_ptr());
  float* score = static_cast<float*>(scores.mutable_data_ptr());
  int64_t* extent = static_cast<int64_t*>(extents.mutable_data_ptr());
  torch::stable::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(baseline::MaskRows::scratch_size(plan));
    std::vector<uint8_t> rows_on(map_h);
    for (int64_t i = begin; i < end; ++i) {
      MASK2FORMER_MT_DISPATCH(resize_mask, plan, maps + i * map_h * map_w, scratch.data(),
                              rows_on.data(), mask + i * plan.height * plan.width, score + i,
                              extent + 4 * i)
    }
  });
  return {masks, scores, extents};
}

// Twice the number of the mask that each pixel goes to, plus 1 where that mask is inside; and the
// masks' areas and sums of probabilities inside; see `compete`.
std::tuple<Tensor, Tensor, Tensor> compete_for_pixels_cpu(const Tensor& logits_any,
                                                          const Tensor& weights_any,
                                                          const std::vector<int64_t>& padded,
                                                          const std::vector<int64_t>& image,
                                                          const std::vector<int64_t>& original) {
  const Plan plan = plan_of(logits_any, padded, image, original);
  const Tensor logits = torch::stable::contiguous(logits_any);
  const Tensor weights = torch::stable::contiguous(weights_any);
  const int64_t count = logits.size(0);
  STD_TORCH_CHECK(weights.scalar_type() == ScalarType::Float && weights.dim() == 1 &&
                      weights.size(0) == count,
                  "weights must be float32 (N,)");
  STD_TORCH_CHECK(1 <= count && count < (int64_t{1} << 30), "there must be at least one mask");
  Tensor winners = torch::stable::new_empty(logits, {plan.height, plan.width}, ScalarType::Int);
  Tensor areas = torch::stable::new_empty(logits, {count}, ScalarType::Long);
  Tensor sums = torch::stable::new_empty(logits, {count});
  const float* maps = static_cast<const float*>(logits.const_data_ptr());
  const float* weight = static_cast<const float*>(weights.const_data_ptr());
  int32_t* winner = static_cast<int32_t*>(winners.mutable_data_ptr());
  const int64_t bands = (plan.height + kBand - 1) / kBand;
  // Per band, so that the sums do not depend on the number of threads.
  std::vector<int64_t> band_areas(bands * count);
  std::vector<double> band_sums(bands * count);
  torch::stable::parallel_for(0, bands, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(baseline::MaskRows::scratch_size(plan));
    std::vector<float> most(kBand * plan.width);
    for (int64_t band = begin; band < end; ++band) {
      const int64_t first_y = band * kBand;
      const int64_t last_y = first_y + kBand < plan.height ? first_y + kBand : plan.height;
      most.assign(most.size(), -1.0f);
      MASK2FORMER_MT_DISPATCH(compete, plan, maps, weight, count, first_y, last_y, scratch.data(),
                              most.data(), winner + first_y * plan.width,
                              band_areas.data() + band * count, band_sums.data() + band * count)
    }
  });
  int64_t* area = static_cast<int64_t*>(areas.mutable_data_ptr());
  float* sum = static_cast<float*>(sums.mutable_data_ptr());
  for (int64_t i = 0; i < count; ++i) {
    double total = 0;
    area[i] = 0;
    for (int64_t band = 0; band < bands; ++band) {
      area[i] += band_areas[band * count + i];
      total += band_sums[band * count + i];
    }
    sum[i] = static_cast<float>(total);
  }
  return {winners, areas, sums};
}

// The texts of all masks, one after the other, and how long each is.
std::tuple<Tensor, Tensor> encode_masks_cpu(const Tensor& masks_any) {
  STD_TORCH_CHECK(masks_any.dim() == 3, "masks must be (N, H, W)");
  STD_TORCH_CHECK(masks_any.scalar_type() == ScalarType::Bool, "masks must be bool");
  const Tensor masks = torch::stable::contiguous(masks_any);
  const int64_t count = masks.size(0), height = masks.size(1), width = masks.size(2);
  const uint8_t* pixels = static_cast<const uint8_t*>(masks.const_data_ptr());
  std::vector<std::vector<uint8_t>> texts(count);
  torch::stable::parallel_for(0, count, 8, [&](int64_t begin, int64_t end) {
    RunLengthEncoder encoder;
    for (int64_t i = begin; i < end; ++i)
      encoder.encode(pixels + i * height * width, height, width, texts[i]);
  });
  int64_t total = 0;
  for (const auto& text : texts) total += static_cast<int64_t>(text.size());
  Tensor joined = torch::stable::new_empty(masks, {total}, ScalarType::Byte);
  Tensor lengths = torch::stable::new_empty(masks, {count}, ScalarType::Long);
  uint8_t* out = static_cast<uint8_t*>(joined.mutable_data_ptr());
  int64_t* length = static_cast<int64_t*>(lengths.mutable_data_ptr());
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(out, texts[i].data(), texts[i].size());
    out += texts[i].size();
    length[i] = static_cast<int64_t>(texts[i].size());
  }
  return {joined, lengths};
}

}  // namespace
}  // namespace mask2former_mt

STABLE_TORCH_LIBRARY_FRAGMENT(mask2former_mt, library) {
  library.def(
      "resize_masks(Tensor mask_logits, int[] padded_size, int[] image_size, "
      "int[] original_size) -> (Tensor, Tensor, Tensor)");
  library.def(
      "compete_for_pixels(Tensor mask_logits, Tensor weights, int[] padded_size, "
      "int[] image_size, int[] original_size) -> (Tensor, Tensor, Tensor)");
  library.def("encode_masks(Tensor masks) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(mask2former_mt, CPU, library) {
  library.impl("resize_masks", TORCH_BOX(&mask2former_mt::resize_masks_cpu));
  library.impl("compete_for_pixels", TORCH_BOX(&mask2former_mt::compete_for_pixels_cpu));
  library.impl("encode_masks", TORCH_BOX(&mask2former_mt::encode_masks_cpu));
}
