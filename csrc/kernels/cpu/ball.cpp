#include "ball.h"

#include <algorithm>
#include <type_traits>

#include "vectorised.h"
#include "words.h"

namespace clever::cpu {
namespace {

// Where a tile's draws go: draw i of its block j to t[i][j], the block's mass to mass[j].
struct Draws {
  float* t[4];
  float mass[kTile];
};

template <class Law>
CLEVER_VECTORISED void apply_law(Law law, const Words& words, int count, Draws& out) {
  float *const t0 = out.t[0], *const t1 = out.t[1], *const t2 = out.t[2], *const t3 = out.t[3];
#pragma omp simd
  for (int j = 0; j < count; ++j) {
    const uint32_t w0 = words.w[0][j], w1 = words.w[1][j], w2 = words.w[2][j], w3 = words.w[3][j];
    const Block block = law.draw(w0, w1, w2, w3);
    t0[j] = block.t[0];
    t1[j] = block.t[1];
    t2[j] = block.t[2];
    t3[j] = block.t[3];
    out.mass[j] = law.mass(w0, w1, w2, w3);
  }
}

CLEVER_VECTORISED void try_gammas(const GammaSampler& sampler, const Words& words, int count,
                                  float* t, float* mass) {
#pragma omp simd
  for (int j = 0; j < count; ++j) {
    const GammaSampler::Candidate drawn =
        sampler.candidate(words.w[0][j], words.w[1][j], words.w[2][j], words.w[3][j]);
    t[j] = drawn.t;
    mass[j] = drawn.mass;
  }
}

// A first attempt at all of a tile's elements, and more at those few that it rejects.
void draw_gammas(const Stream& stream, uint32_t first, int count, double p, Words& words,
                 Draws& out) {
  const GammaSampler sampler(p);
  float mass[4][kTile];
  for (uint32_t i = 0; i < 4; ++i) {
    draw_words(stream, first, count, GammaSampler::domain(i, 0), words);
    try_gammas(sampler, words, count, out.t[i], mass[i]);
    for (int j = 0; j < count; ++j) {
      if (mass[i][j] >= 0.0f) continue;
      const auto drawn = sampler.element(stream, first + static_cast<uint32_t>(j), i, 1);
      out.t[i][j] = drawn.t;
      mass[i][j] = drawn.mass;
    }
  }
  for (int j = 0; j < count; ++j) {
    out.mass[j] = (mass[0][j] + mass[1][j]) + (mass[2][j] + mass[3][j]);
  }
}

template <class Sampler>
void draw_tile(const Stream& stream, uint32_t first, int count, double p, Draws& out) {
  Words words;
  if constexpr (std::is_same_v<Sampler, GammaSampler>) {
    draw_gammas(stream, first, count, p, words, out);
  } else {
    draw_words(stream, first, count, kElementDomain, words);
    apply_law(typename Sampler::Law(), words, count, out);
  }
}

// Calls f(first block, count, where its draws go) for tiles of blocks; draw i of block j of a
// sample goes to t[i * n_blocks + j].
template <class F>
void for_each_tile(const BlockGrid& grid, float* t, const F& f) {
  Draws draws;
  for (int64_t block = 0; block < grid.n_blocks; block += kTile) {
    const int count = static_cast<int>(std::min<int64_t>(kTile, grid.n_blocks - block));
    for (int i = 0; i < 4; ++i) draws.t[i] = t + grid.element(i, block);
    f(block, count, draws);
  }
}

CLEVER_VECTORISED int64_t sum_of_masses(const float* mass, int count) {
  int64_t sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int j = 0; j < count; ++j) sum += mass_units(mass[j]);
  return sum;
}

// Draws a whole sample; returns the sum of |t|^p.
template <class Norm>
double draw_all(const Stream& stream, const BlockGrid& grid, double p, float* t) {
  int64_t total = 0;
  for_each_tile(grid, t, [&](int64_t block, int count, Draws& draws) {
    draw_tile<typename Norm::Sampler>(stream, static_cast<uint32_t>(block), count, p, draws);
    const int64_t full = std::clamp<int64_t>(grid.full - block, 0, count);
    total += sum_of_masses(draws.mass, static_cast<int>(full));
  });
  for (int64_t block = grid.full; block < grid.n_blocks; ++block) {
    total += block_mass<Norm>(stream, block, grid, p);
  }
  return static_cast<double>(total) * kMassUnit;
}

template <class T>
CLEVER_VECTORISED void write_run(T* out, const T* center, int64_t stride, const float* t,
                                 int64_t count, typename Arithmetic<T>::Writer writer) {
  if (stride == 1) {
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) store(out + j, writer(load(center + j), t[j]));
  } else {
    for (int64_t j = 0; j < count; ++j) {
      store(out + j * stride, writer(load(center + j * stride), t[j]));
    }
  }
}

// Elements first..first+count, cut where a channel ends.
template <class T>
void write_elements(T* out, const T* center, const PointLayout& point, int64_t first, int64_t count,
                    const float* t, typename Arithmetic<T>::Writer writer) {
  while (count > 0) {
    const int64_t run = std::min(count, point.plane - first % point.plane);
    const int64_t offset = point.offset(first);
    write_run(out + offset, center + offset, point.plane_stride, t, run, writer);
    first += run;
    count -= run;
    t += run;
  }
}

// Where a sample's draws are held: in the point itself where they fit there, element for element.
template <class T>
float* place_for_draws(T* out, const PointLayout& point, const BlockGrid& grid,
                       Scratch<float>& scratch) {
  if constexpr (std::is_same_v<T, float>) {
    if (point.plane_stride == 1 && point.plane == grid.numel && grid.full == grid.n_blocks) {
      return out;
    }
  }
  return scratch.get(4 * grid.n_blocks);
}

template <class Norm, class T>
void write_sample_as(T* out, const T* center, const PointLayout& point, double p, double radius,
                     const Stream& stream, Clip clip, Scratch<float>& scratch) {
  const BlockGrid grid(point.numel);
  using Writer = typename Arithmetic<T>::Writer;
  if constexpr (Norm::kIsSum) {
    float* t = place_for_draws(out, point, grid, scratch);
    const double mass = draw_all<Norm>(stream, grid, p, t);
    const Writer writer(ball_scale<Norm>(radius, mass, stream, p), clip);
    write_elements(out, center, point, 0, grid.numel, t, writer);
  } else {
    const Writer writer(radius, clip);
    float held[4][kTile];
    Draws draws = {{held[0], held[1], held[2], held[3]}, {}};
    for (int64_t block = 0; block < grid.n_blocks; block += kTile) {
      const int count = static_cast<int>(std::min<int64_t>(kTile, grid.n_blocks - block));
      draw_tile<typename Norm::Sampler>(stream, static_cast<uint32_t>(block), count, p, draws);
      for (int i = 0; i < 4; ++i) {
        const int64_t first = grid.element(i, block);
        write_elements(out, center, point, first, std::min<int64_t>(count, grid.numel - first),
                       held[i], writer);
      }
    }
  }
}

}  // namespace

double draw_sample(const Stream& stream, int64_t numel, double p, float* t) {
  return with_norm(
      p, [&](auto norm) { return draw_all<decltype(norm)>(stream, BlockGrid(numel), p, t); });
}

void draw_signs(const Stream& stream, int64_t numel, double share, float* t) {
  Words words;
  for_each_tile(BlockGrid(numel), t, [&](int64_t block, int count, Draws& draws) {
    draw_words(stream, static_cast<uint32_t>(block), count, kElementDomain, words);
    apply_law(SparseSigns(share), words, count, draws);
  });
}

void write_sample(void* out, const void* center, DType dtype, const PointLayout& point, double p,
                  double radius, const Stream& stream, Clip clip, Scratch<float>& scratch) {
  with_dtype(dtype, [&](auto tag) {
    using T = decltype(tag);
    with_norm(p, [&](auto norm) {
      write_sample_as<decltype(norm)>(static_cast<T*>(out), static_cast<const T*>(center), point, p,
                                      radius, stream, clip, scratch);
    });
  });
}

}  // namespace clever::cpu
