#include <cstring>

#include "kernels.h"

namespace clever::cpu {

void margins_of(const SeedArguments& args) {
  with_dtype(args.dtype, [&](auto tag) {
    for (int32_t row = 0; row < args.rows; ++row) {
      for (int32_t margin = 0; margin < args.n_margins; ++margin) {
        args.write_margin<decltype(tag)>(row, margin);
      }
    }
  });
}

void seeds_of(const SeedArguments& args, int64_t begin, int64_t end) {
  with_dtype(args.dtype, [&](auto tag) {
    using T = decltype(tag);
    using Real = typename Arithmetic<T>::Real;
    for (int64_t number = begin; number < end; ++number) {
      const auto margin = static_cast<int32_t>(number / args.rows);
      const auto row = static_cast<int32_t>(number % args.rows);
      T* seed = args.seed<T>(margin, row);
      std::memset(seed, 0, sizeof(T) * static_cast<size_t>(args.n_logits));
      const int32_t of_class = args.of_class(row), target = args.of_target(row, margin);
      if (of_class == target) continue;
      store(seed + of_class, Real{1});
      store(seed + target, Real{-1});
    }
  });
}

}  // namespace clever::cpu
