// A mask to COCO's run lengths, and these to their text.

#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

namespace mask2former_mt {

// What encoding a mask needs, kept for the next one.
class RunLengthEncoder {
 public:
  // `mask` is 0 or 1, row by row; the text is appended.
  void encode(const uint8_t* mask, int64_t height, int64_t width, std::vector<uint8_t>& text) {
    find_changes(mask, height, width);
    lengths_.clear();
    int64_t last = 0;
    const auto change_at = [&](int64_t position) {
      lengths_.push_back(position - last);
      last = position;
    };
    // COCO counts column by column; the mask was read row by row.
    bool value = false;
    for (int64_t x = 0; x < (height ? width : 0); ++x) {
      const bool top = mask[x];
      if (top != value) change_at(x * height);
      for (int64_t i = first_[x]; i < first_[x + 1]; ++i) change_at(x * height + rows_[i]);
      value = top != ((first_[x + 1] - first_[x]) % 2 == 1);
    }
    lengths_.push_back(height * width - last);
    for (size_t i = 0; i < lengths_.size(); ++i)
      append(lengths_[i] - (i > 2 ? lengths_[i - 2] : 0), text);
  }

 private:
  struct Change {
    int64_t column, row;
  };

  // Where a pixel differs from the one above it, sorted by column and then by row.
  void find_changes(const uint8_t* mask, int64_t height, int64_t width) {
    changes_.clear();
    first_.assign(width + 1, 0);
    for (int64_t y = 1; y < height; ++y) {
      const uint8_t* row = mask + y * width;
      const uint8_t* above = row - width;
      if (std::memcmp(row, above, width) == 0) continue;
      for (int64_t x = 0; x < width;) {
        constexpr int64_t step = 32;
        if (x + step <= width && std::memcmp(row + x, above + x, step) == 0) {
          x += step;
          continue;
        }
        const int64_t stop = x + step <= width ? x + step : width;
        for (; x < stop; ++x) {
          if (row[x] == above[x]) continue;
          changes_.push_back({x, y});
          ++first_[x + 1];
        }
      }
    }
    for (int64_t x = 0; x < width; ++x) first_[x + 1] += first_[x];
    next_.assign(first_.begin(), first_.end());
    rows_.resize(changes_.size());
    for (const Change& change : changes_) rows_[next_[change.column]++] = change.row;
  }

  // Five bits a character, the lowest first; a sixth says that more follow.
  static void append(int64_t number, std::vector<uint8_t>& text) {
    for (bool more = true; more;) {
      uint8_t bits = number & 0x1f;
      number >>= 5;
      more = bits & 0x10 ? number != -1 : number != 0;
      text.push_back(static_cast<uint8_t>((more ? bits | 0x20 : bits) + '0'));
    }
  }

  std::vector<Change> changes_;
  // Of each column the first of its changes in rows_.
  std::vector<int64_t> first_, next_, rows_, lengths_;
};

}  // namespace mask2former_mt
