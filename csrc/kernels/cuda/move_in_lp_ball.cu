#include <type_traits>

#include "kernels.h"
#include "norms.cuh"
#include "samples.cuh"

namespace clever::cuda {
namespace {

// How the elements of one row move, before the projection.
template <class Norm, class T>
struct RowMove {
  using Real = typename Arithmetic<T>::Real;
  using Writer = typename Arithmetic<T>::Writer;

  const T *base, *center;
  const void* direction;  // null: none
  DType direction_dtype;
  Sharpened<Real> sharpened;
  Real along;  // for each unit of what is sharpened
  const Point& point;
  double p, noise, share;
  Stream stream;
  Writer writer;

  __device__ RowMove(const MoveArguments& args, const Point& point_, int64_t number)
      : base(args.bases.at<T>(args.row(number)[kMoveBase])),
        center(args.centers.at<T>(args.row(number)[kMoveCenter])),
        direction(nullptr),
        direction_dtype(args.direction_dtype),
        sharpened{0.0, args.sharpness},
        along(0),
        point(point_),
        p(args.p),
        noise(args.scale(number)[kNoise]),
        share(args.scale(number)[kShare]),
        stream(args.stream(number)),
        writer(noise_writer(args.clip)) {
    const double length = args.scale(number)[kAlong];
    const int64_t row = args.row(number)[kMoveDirection];
    if (length == 0.0 || row < 0) return;
    direction = with_dtype(direction_dtype, [&](auto tag) {
      return static_cast<const void*>(args.directions.at<decltype(tag)>(row));
    });
    find_direction(length);
  }

  __device__ Writer noise_writer(Clip clip) const {
    if (noise == 0.0) return Writer(0.0, clip);
    if (share > 0.0) return Writer(sign_scale<Norm>(noise, share, point.numel, p), clip);
    const double mass = Norm::kIsSum ? mass_of_row<Norm>(stream, point.numel, p) : 0.0;
    return Writer(ball_scale<Norm>(noise, mass, stream, p), clip);
  }

  // f(g) for the direction's element that lies there, as float32 or float64.
  template <class F>
  __device__ auto with_element(uint32_t offset, const F& f) const {
    return with_dtype(direction_dtype, [&](auto tag) {
      return f(load(static_cast<const decltype(tag)*>(direction) + offset));
    });
  }

  __device__ void find_direction(double length) {
    sharpened.largest = norm_of<LInf, double>(p, [&](const auto& add) {
      for (uint32_t i = threadIdx.x; i < point.numel; i += kThreads) {
        add(with_element(i, [](auto g) { return static_cast<double>(magnitude(g)); }));
      }
    });
    if (!sharpened.exists()) {
      direction = nullptr;
      return;
    }
    const double norm = norm_of<Norm, Real>(p, [&](const auto& add) {
      for (uint32_t i = threadIdx.x; i < point.numel; i += kThreads) {
        add(magnitude(with_element(i, sharpened)));
      }
    });
    along = static_cast<Real>(length / norm);
  }

  __device__ Block draw_noise(uint32_t block) const {
    if (noise == 0.0) return {};
    if (share == 0.0) return Norm::Sampler::draw(stream, block, p);
    const PhiloxWords words = stream.words(block, kElementDomain);
    return SparseSigns(share).draw(words.w[0], words.w[1], words.w[2], words.w[3]);
  }

  // f(offset, move) for each of this thread's elements: draws come four at a time, in the order of
  // a contiguous point.
  template <class F>
  __device__ void for_each(const F& f) const {
    for (uint32_t block = threadIdx.x; block < point.n_blocks; block += kThreads) {
      const Block drawn = draw_noise(block);
      for (uint32_t i = 0; i < 4; ++i) {
        const uint32_t element = i * point.n_blocks + block;
        if (element >= point.numel) break;
        const uint32_t offset = point.offset(element);
        Real move = 0;
        if (direction != nullptr) move = along * with_element(offset, sharpened);
        if (noise != 0.0) move += writer.move(drawn.t[i]);
        f(offset, move);
      }
    }
  }

  __device__ Real from_center(uint32_t offset, Real move) const {
    return (load(base + offset) - load(center + offset)) + move;
  }
};

// What the moved point is away from its center, element for element. It is held in the row that
// is written where numbers are computed in its type, and is found anew each time where they would
// be rounded there.
template <class Norm, class T>
struct Offsets {
  using Real = typename Arithmetic<T>::Real;
  static constexpr bool kHeld = std::is_same_v<T, Real>;
  const RowMove<Norm, T>& row;
  T* out;

  __device__ Offsets(const RowMove<Norm, T>& row_, T* out_) : row(row_), out(out_) {
    if constexpr (kHeld) {
      row.for_each([&](uint32_t i, Real move) { store(out + i, row.from_center(i, move)); });
      __syncthreads();  // other threads read it
    }
  }
  template <class F>
  __device__ void for_each(const F& f) const {
    if constexpr (kHeld) {
      for (uint32_t i = threadIdx.x; i < row.point.numel; i += kThreads) f(i, load(out + i));
    } else {
      row.for_each([&](uint32_t i, Real move) { f(i, row.from_center(i, move)); });
    }
  }
};

template <class Norm, class Projection, class T>
__device__ void search(const Offsets<Norm, T>& offsets, Projection& projection) {
  using Real = typename Arithmetic<T>::Real;
  while (projection.searching) {
    StretchedSum<L1, Real> first, second;
    offsets.for_each([&](uint32_t, Real v) {
      const Terms<Real> terms = projection.terms(magnitude(v));
      first.add(terms.first, 1.0);
      second.add(terms.second, 1.0);
    });
    projection.step({block_reduce<L1>(first.total()), block_reduce<L1>(second.total())});
  }
}

template <class Norm, class T>
__global__ void __launch_bounds__(kThreads, 1)
    move_kernel(const __grid_constant__ MoveArguments args, const __grid_constant__ Point point) {
  using Real = typename Arithmetic<T>::Real;
  const int64_t number = blockIdx.x;
  if (args.skips(number)) return;
  CLEVER_DEVICE_CHECK(args.is_valid(number));
  const RowMove<Norm, T> row(args, point, number);
  T* out = static_cast<T*>(args.out) + number * args.row_stride;
  const Offsets<Norm, T> offsets(row, out);
  const double radius = args.scale(number)[kRadius];
  const double norm = norm_of<Norm, Real>(args.p, [&](const auto& add) {
    offsets.for_each([&](uint32_t, Real v) { add(magnitude(v)); });
  });
  if (in_ball(norm, radius)) {
    row.for_each([&](uint32_t i, Real move) {
      store(out + i, row.writer.clipped(load(row.base + i) + move));
    });
    return;
  }
  typename Norm::template Projection<Real> projection(radius, norm, args.point.numel, args.p);
  if constexpr (decltype(projection)::kSearches) search(offsets, projection);
  offsets.for_each([&](uint32_t i, Real v) {
    store(out + i, row.writer.clipped(load(row.center + i) + projection(v)));
  });
}

}  // namespace

void move_in_lp_ball(const MoveArguments& args, void* stream) {
  const Point point(args.point, false);
  with_dtype(args.dtype, [&](auto tag) {
    with_norm(args.p, [&](auto norm) {
      auto* kernel = move_kernel<decltype(norm), decltype(tag)>;
      CLEVER_LAUNCH(kernel, static_cast<unsigned>(args.batch), kThreads, stream, args, point);
    });
  });
}

}  // namespace clever::cuda
