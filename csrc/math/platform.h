// What lets one function body serve the host, the GPU and the emulator of it.
#pragma once

#if defined(__CUDACC__)
#define CLEVER_HD __host__ __device__ __forceinline__
#elif defined(_MSC_VER)
#define CLEVER_HD __forceinline
#else
// Inlined without fail: a CPU loop that is compiled for several instruction sets must not call
// out to a function that was compiled for the oldest of them.
#define CLEVER_HD inline __attribute__((always_inline))
#endif

// Before a loop over the four draws of a block: unrolled, the loop over blocks around it
// vectorises.
#if defined(__CUDACC__) || defined(__clang__)
#define CLEVER_UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define CLEVER_UNROLL _Pragma("GCC unroll 4")
#else
#define CLEVER_UNROLL
#endif
