// Enough of CUDA to run the kernels of csrc/kernels/cuda on the host, and to find their mistakes.
//
// Blocks run one after the other, in a shuffled order. The threads of a block are fibers of one
// host thread; which of those that can go on does so next is drawn at random, so that code that
// relies on an order goes wrong. A mistake that is seen throws std::runtime_error out of the
// launch:
//
// - a barrier that not all the threads of the block reach, or a shuffle that not all the lanes of a
//   warp reach, whether they have ended or wait elsewhere;
// - shared memory: an index out of range, a read of what nothing wrote, and two threads that use an
//   element, one of them writing, with no barrier in between;
// - __trap().
//
// Global memory is the host's own: AddressSanitizer watches over it.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <source_location>
#include <type_traits>

#define __global__
#define __grid_constant__
#define __device__
#define __launch_bounds__(...)
#define CLEVER_OUTLINED

#define CLEVER_LAUNCH(kernel, blocks, threads, stream, ...) \
  (static_cast<void>(stream),                               \
   clever::emulation::launch(blocks, threads, [&] { kernel(__VA_ARGS__); }))

// The address of the static variable tells declarations apart, instantiations of one too.
#define CLEVER_SHARED(type, name, count) \
  static char name##_declaration;        \
  const clever::emulation::SharedArray<type> name(&name##_declaration, count)

struct Index3 {
  unsigned x, y, z;
};
// Of the fiber that runs: the scheduler sets them whenever it changes over to another.
inline Index3 threadIdx{}, blockIdx{}, blockDim{}, gridDim{};

namespace clever::emulation {

using Place = std::source_location;

// Runs one call of `thread` for each thread of each block.
void launch(unsigned blocks, unsigned threads, const std::function<void()>& thread);

// Give up the processor until all the threads of the block, or all the lanes of the warp, are here.
void wait_for_block(const Place& place);
uint64_t exchange_in_warp(uint64_t bits, unsigned partner, const Place& place);

[[noreturn]] void fail(const char* what, const Place& place);

// Who used an element of shared memory since the last barrier.
struct SharedElement {
  uint64_t bits;
  bool written;  // ever, in this block
  int64_t write_epoch, read_epoch;
  unsigned writer, reader;
  bool many_readers;
};

// The elements of one declaration in the block that runs; made by the first thread that asks.
SharedElement* shared_elements(const void* declaration, int count);
void note_read(SharedElement& element, const Place& place);
void note_write(SharedElement& element, const Place& place);

// Stands for T& of shared memory.
template <class T>
class SharedReference {
 public:
  SharedReference(SharedElement& element, const Place& place) : element_(element), place_(place) {}
  SharedReference(const SharedReference&) = delete;
  operator T() const {
    note_read(element_, place_);
    T value;
    std::memcpy(&value, &element_.bits, sizeof(T));
    return value;
  }
  void operator=(T value) const {
    note_write(element_, place_);
    std::memcpy(&element_.bits, &value, sizeof(T));
  }

 private:
  SharedElement& element_;
  Place place_;
};

// An index that carries the place of the access: an operator[] can have no default argument.
struct SharedIndex {
  int64_t value;
  Place place;
  template <class I, class = std::enable_if_t<std::is_integral_v<I>>>
  SharedIndex(I index, const Place& where = Place::current())
      : value(static_cast<int64_t>(index)), place(where) {}
};

template <class T>
class SharedArray {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(uint64_t));

 public:
  SharedArray(const void* declaration, int count)
      : elements_(shared_elements(declaration, count)), count_(count) {}
  SharedReference<T> operator[](SharedIndex index) const {
    if (index.value < 0 || index.value >= count_) {
      fail("an index out of the range of shared memory", index.place);
    }
    return {elements_[index.value], index.place};
  }

 private:
  SharedElement* elements_;
  int count_;
};

}  // namespace clever::emulation

inline void __syncthreads(
    const clever::emulation::Place& place = clever::emulation::Place::current()) {
  clever::emulation::wait_for_block(place);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask,
                  const clever::emulation::Place& place = clever::emulation::Place::current()) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(uint64_t));
  if (mask != 0xffffffffu) clever::emulation::fail("a shuffle among some lanes only", place);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = clever::emulation::exchange_in_warp(bits, threadIdx.x ^ static_cast<unsigned>(lane_mask),
                                             place);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

template <class T>
T atomicMax(T* address, T value) {
  const T before = *address;
  if (value > before) *address = value;
  return before;
}

template <class T>
T atomicMin(T* address, T value) {
  const T before = *address;
  if (value < before) *address = value;
  return before;
}

[[noreturn]] inline void __trap(
    const clever::emulation::Place& place = clever::emulation::Place::current()) {
  clever::emulation::fail("__trap()", place);
}
