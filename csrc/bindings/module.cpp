// The Python module _C: importing it registers the ops; it also tells how it was built and which
// norms there are. Written in the limited API of Python 3.10: one library serves that Python and
// every later one.
#define Py_LIMITED_API 0x030A0000
#include <Python.h>

#include <climits>

#include "../kernels/arguments.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace {

PyObject* norm_table(PyObject*, PyObject*) {
#define CLEVER_FORMAT(Norm) "(sd)"
#define CLEVER_ROW(Norm) , clever::Norm::kName, clever::Norm::kP
  return Py_BuildValue("[" CLEVER_FORALL_NORMS(CLEVER_FORMAT) "]" CLEVER_FORALL_NORMS(CLEVER_ROW));
#undef CLEVER_FORMAT
#undef CLEVER_ROW
}

PyObject* build_info(PyObject*, PyObject*) {
  return Py_BuildValue("{sssssssOss}", "version", CLEVER_VERSION, "compiler", CLEVER_COMPILER,
                       "torch", CLEVER_TORCH_VERSION, "cuda", CLEVER_WITH_CUDA ? Py_True : Py_False,
                       "cuda_architectures", CLEVER_CUDA_ARCHITECTURES);
}

// Whether the C library keeps freed memory for the next allocation, or gives it back to the system,
// as it does by default. False: this C library cannot be told.
PyObject* hold_freed_memory(PyObject*, PyObject* wanted) {
  const int hold = PyObject_IsTrue(wanted);
  if (hold < 0) return nullptr;
#if defined(__GLIBC__)
  constexpr int kMmapMax = 65536, kTrimThreshold = 128 * 1024, kTopPad = 64 * 1024 * 1024;
  mallopt(M_MMAP_MAX, hold ? 0 : kMmapMax);
  mallopt(M_TRIM_THRESHOLD, hold ? INT_MAX : kTrimThreshold);
  mallopt(M_TOP_PAD, hold ? kTopPad : 0);
  if (!hold) malloc_trim(0);
  Py_RETURN_TRUE;
#else
  Py_RETURN_FALSE;
#endif
}

// Lets Python draw words for its tests of the streams: sample and block of one image.
PyObject* stream_words(PyObject*, PyObject* arguments) {
  unsigned long long seed, image_id, sample;
  unsigned int block, domain;
  double p;
  if (!PyArg_ParseTuple(arguments, "KKdKII", &seed, &image_id, &p, &sample, &block, &domain)) {
    return nullptr;
  }
  const clever::Stream stream = clever::make_stream(clever::stream_key(seed, image_id, p), sample);
  const clever::PhiloxWords words = stream.words(block, domain);
  return Py_BuildValue("(IIII)", words.w[0], words.w[1], words.w[2], words.w[3]);
}

PyMethodDef methods[] = {
    {"norm_table", norm_table, METH_NOARGS,
     "Rows (name, p) of the norms; the last matches any other p."},
    {"build_info", build_info, METH_NOARGS, "How this extension was built."},
    {"hold_freed_memory", hold_freed_memory, METH_O,
     "Tell the C library to keep freed memory, or not; False where it cannot be told."},
    {"stream_words", stream_words, METH_VARARGS, "Four random words of one sample."},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                          "_C",
                          "Compiled half of clever_ext: ops in torch.ops.clever_ext",
                          -1,
                          methods,
                          nullptr,
                          nullptr,
                          nullptr,
                          nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__C() {
  PyObject* module = PyModule_Create(&definition);
  if (module == nullptr) return nullptr;
  if (PyModule_AddIntConstant(module, "MAX_NORMS", clever::kMaxNorms) < 0) {
    Py_DECREF(module);
    return nullptr;
  }
  return module;
}
