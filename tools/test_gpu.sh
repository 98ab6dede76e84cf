#!/usr/bin/env bash
# Builds the CUDA half in place and tests it on this machine's GPU. Needs Python with torch's CUDA
# build (2.11 or later), pytest, cmake, ninja and nvcc; asks no registry for anything.
#
#   tools/test_gpu.sh [FOLDER]   what each step printed goes to FOLDER (build/gpu)
#
#   PYTHON=PROGRAM               the Python to use (python3)
#   TORCH_CUDA_ARCH_LIST=9.0     the GPU's architecture; asked of the GPU where it is not set
#   SANITIZER=PROGRAM            compute-sanitizer; looked for where it is not set
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
results=${1:-build/gpu}
mkdir -p "$results"

capability='import torch; print("{}.{}".format(*torch.cuda.get_device_capability()))'
TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST:-$("$python" -c "$capability")}
export TORCH_CUDA_ARCH_LIST CLEVER_REQUIRE_CUDA=1 PYTHONUNBUFFERED=1
{
  nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
  "$python" -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda)'
} | tee "$results/machine.txt"

# In place, without pip: the libraries into clever_ext/, and beside it the metadata that the package
# reads its version from.
CLEVER_WITH_CUDA=1 MAX_JOBS=${MAX_JOBS:-$(nproc)} "$python" setup.py build_ext --build-lib . \
  2>&1 | tee "$results/build.txt"
"$python" setup.py --quiet egg_info
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}

"$python" -m pytest -m cuda tests 2>&1 | tee "$results/pytest.txt"

# The toolkit's folders are not always on the PATH.
sanitizer=${SANITIZER:-$(command -v compute-sanitizer ||
  command -v "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer" || true)}
if [[ -z $sanitizer ]]; then
  echo "compute-sanitizer was not found: set SANITIZER to it" | tee "$results/sanitizer.txt" >&2
  exit 1
fi
# torch's allocator hands out pieces of larger blocks, past whose ends memcheck sees nothing.
export PYTORCH_NO_CUDA_MEMORY_CACHING=1
for tool in memcheck racecheck; do
  "$sanitizer" --tool "$tool" --target-processes all --error-exitcode 9 \
    "$python" -m pytest -m cuda -k "of_the_cpu or slots" tests/kernels/test_cuda_half.py \
    2>&1 | tee "$results/$tool.txt"
done
