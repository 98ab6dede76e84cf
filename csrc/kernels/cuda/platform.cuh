// The few words that differ between the CUDA compiler and the emulator in tests/cuda_emulation.
#pragma once

#if defined(CLEVER_CUDA_EMULATION)
#include "cuda_emulation.h"
// The host takes any address; a GPU traps.
#define CLEVER_ALIGNED(pointer, type) \
  CLEVER_DEVICE_CHECK(reinterpret_cast<uintptr_t>(pointer) % alignof(type) == 0)
#else
#define CLEVER_ALIGNED(pointer, type) static_cast<void>(0)
#include <cuda_runtime.h>
// Kept out of the callers' code: rarely run, and the longest to compile.
#define CLEVER_OUTLINED __noinline__
#define CLEVER_SHARED(type, name, count) __shared__ type name[count]
#define CLEVER_LAUNCH(kernel, blocks, threads, stream, ...) \
  kernel<<<blocks, threads, 0, static_cast<cudaStream_t>(stream)>>>(__VA_ARGS__)
#endif

// Stops the kernel, as torch's own index checks do: an index read from a tensor is out of range.
#define CLEVER_DEVICE_CHECK(condition) \
  do {                                 \
    if (!(condition)) __trap();        \
  } while (false)
