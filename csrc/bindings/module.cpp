// The Python module _C: importing it registers the ops; it also tells how it was built and which
// norms there are.
#include <pybind11/pybind11.h>

#include <climits>

#include "../kernels/arguments.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace py = pybind11;

namespace {

py::list norm_table() {
  py::list table;
#define CLEVER_ROW(Norm) table.append(py::make_tuple(clever::Norm::kName, clever::Norm::kP));
  CLEVER_FORALL_NORMS(CLEVER_ROW)
#undef CLEVER_ROW
  return table;
}

py::dict build_info() {
  py::dict info;
  info["version"] = CLEVER_VERSION;
  info["compiler"] = CLEVER_COMPILER;
  info["torch"] = CLEVER_TORCH_VERSION;
  info["cuda"] = py::bool_(CLEVER_WITH_CUDA);
  info["cuda_architectures"] = CLEVER_CUDA_ARCHITECTURES;
  return info;
}

// Whether the C library keeps freed memory for the next allocation, or gives it back to the system,
// as it does by default. False: this C library cannot be told.
bool hold_freed_memory(bool hold) {
#if defined(__GLIBC__)
  constexpr int kMmapMax = 65536, kTrimThreshold = 128 * 1024, kTopPad = 64 * 1024 * 1024;
  mallopt(M_MMAP_MAX, hold ? 0 : kMmapMax);
  mallopt(M_TRIM_THRESHOLD, hold ? INT_MAX : kTrimThreshold);
  mallopt(M_TOP_PAD, hold ? kTopPad : 0);
  if (!hold) malloc_trim(0);
  return true;
#else
  static_cast<void>(hold);
  return false;
#endif
}

// Lets Python draw words for its tests of the streams: sample and block of one image.
py::tuple stream_words(uint64_t seed, uint64_t image_id, double p, uint64_t sample, uint32_t block,
                       uint32_t domain) {
  const clever::Stream stream = clever::make_stream(clever::stream_key(seed, image_id, p), sample);
  const clever::PhiloxWords words = stream.words(block, domain);
  return py::make_tuple(words.w[0], words.w[1], words.w[2], words.w[3]);
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Compiled half of clever_ext: ops in torch.ops.clever_ext";
  m.def("norm_table", &norm_table, "Rows (name, p) of the norms; the last matches any other p.");
  m.def("build_info", &build_info, "How this extension was built.");
  m.def("hold_freed_memory", &hold_freed_memory,
        "Tell the C library to keep freed memory, or not; False where it cannot be told.");
  m.def("stream_words", &stream_words, "Four random words of one sample.");
  m.attr("MAX_NORMS") = clever::kMaxNorms;
}
