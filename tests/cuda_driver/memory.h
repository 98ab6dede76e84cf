// Memory of the GPU, one allocation for each buffer, so that a tool that watches accesses knows
// where each of them ends. Under the emulator it is the host's.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <vector>

#if !defined(CLEVER_CUDA_EMULATION)
#include <cuda_runtime.h>
#endif

namespace driver {

#if defined(CLEVER_CUDA_EMULATION)
inline void* allocate(size_t bytes) { return std::malloc(bytes); }
inline void release(void* data) { std::free(data); }
inline void copy(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }
inline void fill(void* data, int byte, size_t bytes) { std::memset(data, byte, bytes); }
inline void synchronise() {}
#else
inline void must(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("%s: %s\n", what, cudaGetErrorString(error));
  std::exit(2);
}
inline void* allocate(size_t bytes) {
  void* data = nullptr;
  must(cudaMalloc(&data, bytes), "cudaMalloc");
  return data;
}
inline void release(void* data) { must(cudaFree(data), "cudaFree"); }
inline void copy(void* to, const void* from, size_t bytes) {
  must(cudaMemcpy(to, from, bytes, cudaMemcpyDefault), "cudaMemcpy");
}
inline void fill(void* data, int byte, size_t bytes) {
  must(cudaMemset(data, byte, bytes), "cudaMemset");
}
inline void synchronise() {
  must(cudaGetLastError(), "a launch");
  must(cudaDeviceSynchronize(), "a kernel");
}
#endif

// `count` elements that lie on the GPU.
template <class T>
class Buffer {
 public:
  // All bits are set: a floating point number that nobody writes is a NaN, an integer is -1.
  explicit Buffer(size_t count) : count_(count), data_(static_cast<T*>(allocate(bytes()))) {
    fill(data_, 0xff, bytes());
  }
  explicit Buffer(const std::vector<T>& values) : Buffer(values.size()) {
    copy(data_, values.data(), bytes());
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { release(data_); }

  T* data() const { return data_; }
  // What it holds, once all launches have ended.
  std::vector<T> host() const {
    synchronise();
    std::vector<T> values(count_);
    copy(values.data(), data_, bytes());
    return values;
  }

 private:
  size_t bytes() const { return count_ * sizeof(T); }
  size_t count_;
  T* data_;
};

}  // namespace driver
