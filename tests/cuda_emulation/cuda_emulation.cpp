#include "cuda_emulation.h"

#include <ucontext.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

// AddressSanitizer must be told of each change of stacks, or it takes a throw on a fiber's stack
// for one that leaves the host thread's.
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define CLEVER_BEFORE_SWITCH(saved, bottom, size) \
  __sanitizer_start_switch_fiber(saved, bottom, size)
#define CLEVER_AFTER_SWITCH(saved, bottom, size) \
  __sanitizer_finish_switch_fiber(saved, bottom, size)
#else
#define CLEVER_BEFORE_SWITCH(saved, bottom, size) static_cast<void>(0)
#define CLEVER_AFTER_SWITCH(saved, bottom, size) static_cast<void>(0)
#endif

namespace clever::emulation {
namespace {

constexpr unsigned kWarp = 32;
constexpr size_t kStackBytes = size_t{1} << 17;

enum class State { kReady, kAtBarrier, kAtShuffle, kEnded };

struct Fiber {
  // Not cleared: pages that no call touches are never taken from the system.
  std::unique_ptr<char[]> stack = std::make_unique_for_overwrite<char[]>(kStackBytes);
  ucontext_t context;
  void* sanitizer_stack = nullptr;
  State state = State::kReady;
  Place place;  // where it waits
  uint64_t bits = 0, received = 0;
  unsigned partner = 0;
};

// All that a launch works on. Stacks stay between launches: making 512 of them takes longer than
// most kernels run.
struct Machine {
  std::mutex one_launch;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<unsigned> ready;
  unsigned threads = 0, running = 0;
  unsigned at_barrier = 0, ended = 0;
  std::vector<unsigned> in_shuffle;  // of each warp
  int64_t epoch = 0;                 // grows with each barrier and each block
  std::unordered_map<const void*, std::vector<SharedElement>> shared;
  const std::function<void()>* thread = nullptr;
  std::exception_ptr failure;
  ucontext_t scheduler;
  void* scheduler_sanitizer_stack = nullptr;
  const void* scheduler_stack = nullptr;
  size_t scheduler_stack_bytes = 0;
  // One seed, so that a failure comes back; CLEVER_EMULATION_SEED tries another.
  std::mt19937 random{[] {
    const char* seed = std::getenv("CLEVER_EMULATION_SEED");
    return seed == nullptr ? 1u : static_cast<unsigned>(std::strtoul(seed, nullptr, 10));
  }()};
};

Machine machine;

std::string name_of(const Place& place) {
  return std::string(place.file_name()) + ":" + std::to_string(place.line()) + " (" +
         place.function_name() + ")";
}

bool same(const Place& a, const Place& b) {
  return a.line() == b.line() && a.column() == b.column() &&
         std::strcmp(a.file_name(), b.file_name()) == 0 &&
         std::strcmp(a.function_name(), b.function_name()) == 0;
}

void switch_to_scheduler() {
  Fiber& fiber = *machine.fibers[machine.running];
  CLEVER_BEFORE_SWITCH(&fiber.sanitizer_stack, machine.scheduler_stack,
                       machine.scheduler_stack_bytes);
  swapcontext(&fiber.context, &machine.scheduler);
  CLEVER_AFTER_SWITCH(fiber.sanitizer_stack, nullptr, nullptr);
}

void switch_to_fiber(unsigned number) {
  Fiber& fiber = *machine.fibers[number];
  machine.running = number;
  threadIdx = {number, 0, 0};
  CLEVER_BEFORE_SWITCH(&machine.scheduler_sanitizer_stack, fiber.stack.get(), kStackBytes);
  swapcontext(&machine.scheduler, &fiber.context);
  CLEVER_AFTER_SWITCH(machine.scheduler_sanitizer_stack, nullptr, nullptr);
}

// A fiber's whole life: one thread after another, of block after block.
void live() {
  CLEVER_AFTER_SWITCH(nullptr, &machine.scheduler_stack, &machine.scheduler_stack_bytes);
  for (;;) {
    try {
      (*machine.thread)();
    } catch (...) {
      machine.failure = std::current_exception();
    }
    machine.fibers[machine.running]->state = State::kEnded;
    ++machine.ended;
    switch_to_scheduler();
  }
}

void add_fiber() {
  auto fiber = std::make_unique<Fiber>();
  getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = fiber->stack.get();
  fiber->context.uc_stack.ss_size = kStackBytes;
  fiber->context.uc_link = nullptr;
  makecontext(&fiber->context, live, 0);
  machine.fibers.push_back(std::move(fiber));
}

void make_ready(unsigned number) {
  machine.fibers[number]->state = State::kReady;
  machine.ready.push_back(number);
}

// All the threads that have not ended wait at a barrier: it opens, if it is the same one.
void open_barrier() {
  const Place* first = nullptr;
  for (unsigned number = 0; number < machine.threads; ++number) {
    const Fiber& fiber = *machine.fibers[number];
    if (fiber.state == State::kEnded) continue;
    if (first == nullptr) first = &fiber.place;
    if (!same(*first, fiber.place)) {
      throw std::runtime_error("CUDA emulation: threads of a block wait at different barriers: " +
                               name_of(*first) + " and " + name_of(fiber.place));
    }
    make_ready(number);
  }
  machine.at_barrier = 0;
  ++machine.epoch;
}

[[noreturn]] void fail_stuck() {
  std::string text = "CUDA emulation: " + std::to_string(machine.ended) + " of " +
                     std::to_string(machine.threads) + " threads of a block have ended, ";
  for (unsigned number = 0; number < machine.threads; ++number) {
    const Fiber& fiber = *machine.fibers[number];
    if (fiber.state != State::kAtShuffle) continue;
    throw std::runtime_error(text + "and thread " + std::to_string(number) +
                             " waits for its whole warp at " + name_of(fiber.place));
  }
  throw std::runtime_error(text + "and none can go on");
}

void run_block() {
  machine.shared.clear();
  machine.at_barrier = machine.ended = 0;
  machine.in_shuffle.assign((machine.threads + kWarp - 1) / kWarp, 0);
  ++machine.epoch;
  machine.ready.clear();
  for (unsigned number = 0; number < machine.threads; ++number) make_ready(number);
  while (machine.ended < machine.threads) {
    if (machine.ready.empty()) {
      if (machine.at_barrier == 0 || machine.at_barrier + machine.ended < machine.threads) {
        fail_stuck();
      }
      open_barrier();
    }
    std::swap(machine.ready[machine.random() % machine.ready.size()], machine.ready.back());
    const unsigned number = machine.ready.back();
    machine.ready.pop_back();
    switch_to_fiber(number);
    if (machine.failure) std::rethrow_exception(std::exchange(machine.failure, nullptr));
  }
}

}  // namespace

void launch(unsigned blocks, unsigned threads, const std::function<void()>& thread) {
  const std::lock_guard lock(machine.one_launch);
  machine.threads = threads;
  machine.thread = &thread;
  blockDim = {threads, 1, 1};
  gridDim = {blocks, 1, 1};
  while (machine.fibers.size() < threads) add_fiber();
  std::vector<unsigned> order(blocks);
  std::iota(order.begin(), order.end(), 0u);
  std::shuffle(order.begin(), order.end(), machine.random);
  try {
    for (const unsigned block : order) {
      blockIdx = {block, 0, 0};
      run_block();
    }
  } catch (...) {
    machine.fibers.clear();  // some stopped halfway; kernels hold nothing that must be destroyed
    throw;
  }
}

void wait_for_block(const Place& place) {
  Fiber& fiber = *machine.fibers[machine.running];
  fiber.state = State::kAtBarrier;
  fiber.place = place;
  ++machine.at_barrier;
  switch_to_scheduler();
}

uint64_t exchange_in_warp(uint64_t bits, unsigned partner, const Place& place) {
  const unsigned self = machine.running;
  const unsigned warp = self / kWarp;
  Fiber& fiber = *machine.fibers[self];
  fiber.state = State::kAtShuffle;
  fiber.place = place;
  fiber.bits = bits;
  fiber.partner = partner;
  if (partner / kWarp != warp) fail("a shuffle with a lane of another warp", place);
  if (++machine.in_shuffle[warp] == kWarp) {
    machine.in_shuffle[warp] = 0;
    for (unsigned lane = warp * kWarp; lane < (warp + 1) * kWarp; ++lane) {
      Fiber& other = *machine.fibers[lane];
      if (!same(other.place, place)) fail("lanes of a warp wait at different shuffles", place);
      other.received = machine.fibers[other.partner]->bits;
      make_ready(lane);
    }
  }
  switch_to_scheduler();
  return fiber.received;
}

void fail(const char* what, const Place& place) {
  throw std::runtime_error("CUDA emulation: " + std::string(what) + ", thread " +
                           std::to_string(machine.running) + " of block " +
                           std::to_string(blockIdx.x) + " at " + name_of(place));
}

SharedElement* shared_elements(const void* declaration, int count) {
  std::vector<SharedElement>& elements = machine.shared[declaration];
  // All ones: a NaN as a float of any width, an absurd index as an integer.
  if (elements.empty())
    elements.resize(count, SharedElement{~uint64_t{0}, false, 0, 0, 0, 0, false});
  return elements.data();
}

// A warp's lanes go apart since Volta, so that only a barrier orders what two threads do.
void note_read(SharedElement& element, const Place& place) {
  if (!element.written) fail("a read of shared memory that nothing wrote", place);
  if (element.write_epoch == machine.epoch && element.writer != machine.running) {
    fail("a race: a read of shared memory that another thread wrote, no barrier between", place);
  }
  const bool first = element.read_epoch != machine.epoch;
  element.many_readers = !first && (element.many_readers || element.reader != machine.running);
  element.reader = machine.running;
  element.read_epoch = machine.epoch;
}

void note_write(SharedElement& element, const Place& place) {
  const bool other_wrote =
      element.write_epoch == machine.epoch && element.writer != machine.running;
  const bool other_read = element.read_epoch == machine.epoch &&
                          (element.many_readers || element.reader != machine.running);
  if (other_wrote || other_read) {
    fail("a race: a write to shared memory that another thread used, no barrier between", place);
  }
  element.written = true;
  element.writer = machine.running;
  element.write_epoch = machine.epoch;
}

}  // namespace clever::emulation
