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

// Written out, for GCC vectorises no loop around another one.
#if defined(__CUDA_ARCH__) || defined(__clang__)
#define CLEVER_UNROLL _Pragma("unroll")
#elif defined(__CUDACC__)
#define CLEVER_UNROLL
#else
#define CLEVER_UNROLL _Pragma("GCC unroll 16")
#endif
