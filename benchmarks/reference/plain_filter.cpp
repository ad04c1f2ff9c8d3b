// The published algorithm (Adams, Baek & Davis 2010) in its simplest form, for comparison: a hash table of
// short arrays, one pixel at a time, one value channel at a time. Same compiler flags as the extensions.

#include <cmath>
#include <cstddef>
#include <vector>

namespace {

// Open addressing over arrays of d shorts; doubles when half full.
class HashTable {
 public:
  explicit HashTable(int d, std::size_t expected) : d_(static_cast<std::size_t>(d)), slots_(2 * expected + 1, -1) {}

  int size() const { return static_cast<int>(keys_.size() / d_); }
  const short* key(int i) const { return &keys_[static_cast<std::size_t>(i) * d_]; }

  int find(const short* key, bool create) {
    if (2 * keys_.size() / d_ >= slots_.size()) grow();
    std::size_t slot = hash(key) % slots_.size();
    for (; slots_[slot] != -1; slot = (slot + 1) % slots_.size())
      if (equal(this->key(slots_[slot]), key)) return slots_[slot];
    if (!create) return -1;
    slots_[slot] = size();
    keys_.insert(keys_.end(), key, key + d_);
    return slots_[slot];
  }

 private:
  std::size_t hash(const short* key) const {
    std::size_t sum = 0;
    for (std::size_t i = 0; i < d_; ++i) sum = (sum + static_cast<std::size_t>(key[i])) * 1664525;
    return sum;
  }
  bool equal(const short* a, const short* b) const {
    for (std::size_t i = 0; i < d_; ++i)
      if (a[i] != b[i]) return false;
    return true;
  }
  void grow() {
    std::vector<int> old(2 * slots_.size(), -1);
    old.swap(slots_);
    for (int i = 0; i < size(); ++i) {
      std::size_t slot = hash(key(i)) % slots_.size();
      while (slots_[slot] != -1) slot = (slot + 1) % slots_.size();
      slots_[slot] = i;
    }
  }
  std::size_t d_;
  std::vector<int> slots_;
  std::vector<short> keys_;
};

class PlainLattice {
 public:
  // features [n][d]
  PlainLattice(const std::vector<float>& features, int d, int n)
      : d_(d), n_(n), corner_(static_cast<std::size_t>(n) * (d + 1)), weight_(corner_.size()) {
    HashTable table(d, static_cast<std::size_t>(n) * (d + 1));
    std::vector<float> scale(d), elevated(d + 1), weight(d + 2);
    std::vector<int> rank(d + 1);
    std::vector<short> key(d + 1), base(d + 1), canonical((d + 1) * (d + 1));
    for (int r = 0; r <= d; ++r)
      for (int k = 0; k <= d; ++k) canonical[r * (d + 1) + k] = static_cast<short>(k <= d - r ? r : r - (d + 1));
    const float deviation = std::sqrt(2.0f / 3.0f) * (d + 1);
    for (int i = 0; i < d; ++i) scale[i] = deviation / std::sqrt((i + 2.0f) * (i + 1));
    for (int p = 0; p < n; ++p) {
      const float* f = &features[static_cast<std::size_t>(p) * d];
      float tail = 0;
      for (int j = d; j > 0; --j) {
        const float c = f[j - 1] * scale[j - 1];
        elevated[j] = tail - j * c;
        tail += c;
      }
      elevated[0] = tail;
      int sum = 0;
      for (int i = 0; i <= d; ++i) {
        const float v = elevated[i] / (d + 1), up = std::ceil(v) * (d + 1), down = std::floor(v) * (d + 1);
        base[i] = static_cast<short>(up - elevated[i] < elevated[i] - down ? up : down);
        sum += base[i];
        rank[i] = 0;
      }
      sum /= d + 1;
      for (int i = 0; i < d; ++i)
        for (int j = i + 1; j <= d; ++j) ++rank[elevated[i] - base[i] < elevated[j] - base[j] ? i : j];
      for (int i = 0; i <= d; ++i) {
        rank[i] += sum;
        if (rank[i] < 0) {
          rank[i] += d + 1;
          base[i] = static_cast<short>(base[i] + d + 1);
        } else if (rank[i] > d) {
          rank[i] -= d + 1;
          base[i] = static_cast<short>(base[i] - d - 1);
        }
      }
      for (float& w : weight) w = 0;
      for (int i = 0; i <= d; ++i) {
        const float v = (elevated[i] - base[i]) / (d + 1);
        weight[d - rank[i]] += v;
        weight[d - rank[i] + 1] -= v;
      }
      weight[0] += 1 + weight[d + 1];
      for (int r = 0; r <= d; ++r) {
        for (int i = 0; i < d; ++i) key[i] = static_cast<short>(base[i] + canonical[r * (d + 1) + rank[i]]);
        corner_[static_cast<std::size_t>(p) * (d + 1) + r] = table.find(key.data(), true);
        weight_[static_cast<std::size_t>(p) * (d + 1) + r] = weight[r];
      }
    }
    vertices_ = table.size();
    before_.resize(static_cast<std::size_t>(d + 1) * vertices_);
    after_.resize(before_.size());
    std::vector<short> one(d + 1), other(d + 1);
    for (int j = 0; j <= d; ++j)
      for (int v = 0; v < vertices_; ++v) {
        for (int i = 0; i < d; ++i) {
          one[i] = static_cast<short>(table.key(v)[i] - 1);
          other[i] = static_cast<short>(table.key(v)[i] + 1);
        }
        one[j] = static_cast<short>(table.key(v)[j < d ? j : 0] + d);
        other[j] = static_cast<short>(table.key(v)[j < d ? j : 0] - d);
        before_[static_cast<std::size_t>(j) * vertices_ + v] = table.find(one.data(), false);
        after_[static_cast<std::size_t>(j) * vertices_ + v] = table.find(other.data(), false);
      }
  }

  void filter(const float* in, float* out) const {
    std::vector<float> value(vertices_ + 1, 0.0f), fresh(vertices_ + 1, 0.0f);  // entry 0: no vertex
    for (std::size_t p = 0, i = 0; p < static_cast<std::size_t>(n_); ++p)
      for (int r = 0; r <= d_; ++r, ++i) value[corner_[i] + 1] += weight_[i] * in[p];
    for (int j = 0; j <= d_; ++j) {
      for (int v = 0; v < vertices_; ++v) {
        const std::size_t at = static_cast<std::size_t>(j) * vertices_ + v;
        fresh[v + 1] = value[v + 1] + 0.5f * (value[before_[at] + 1] + value[after_[at] + 1]);
      }
      value.swap(fresh);
    }
    const float alpha = 1.0f / (1 + std::pow(2.0f, -static_cast<float>(d_)));
    for (std::size_t p = 0, i = 0; p < static_cast<std::size_t>(n_); ++p) {
      out[p] = 0;
      for (int r = 0; r <= d_; ++r, ++i) out[p] += weight_[i] * value[corner_[i] + 1] * alpha;
    }
  }

 private:
  int d_, n_, vertices_;
  std::vector<int> corner_;
  std::vector<float> weight_;
  std::vector<int> before_, after_;
};

}  // namespace

extern "C" void plain_bilateral(const float* image, const float* in, float* out, int channels, int height, int width,
                                float sigma_rgb, float sigma_xy) {
  const int n = height * width;
  std::vector<float> features(static_cast<std::size_t>(n) * 5);
  for (int y = 0, p = 0; y < height; ++y)
    for (int x = 0; x < width; ++x, ++p) {
      features[p * 5] = x / sigma_xy;
      features[p * 5 + 1] = y / sigma_xy;
      for (int c = 0; c < 3; ++c) features[p * 5 + 2 + c] = image[c * n + p] / sigma_rgb;
    }
  const PlainLattice lattice(features, 5, n);
  for (int k = 0; k < channels; ++k) lattice.filter(in + k * n, out + k * n);
}

extern "C" void plain_color(const float* image, const float* in, float* out, int channels, int height, int width,
                            float sigma_rgb, int planes) {
  const int n = height * width;
  std::vector<float> features(static_cast<std::size_t>(n) * planes);
  for (int p = 0; p < n; ++p)
    for (int c = 0; c < planes; ++c) features[p * planes + c] = image[static_cast<std::size_t>(c) * n + p] / sigma_rgb;
  const PlainLattice lattice(features, planes, n);
  for (int k = 0; k < channels; ++k) lattice.filter(in + k * n, out + k * n);
}
