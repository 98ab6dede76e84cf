#!/usr/bin/env bash
# Builds and tests the CUDA half without a GPU. `make test-cuda` calls this; it needs nvcc 13.
#
#   ARCH=all         build for all of setup.py's architectures, not two of them and PTX
#   CUDA_VENV=DIR    the environment with torch's CUDA build; made where it is missing
#   PYTHON=PROGRAM   the Python to make it with
#   VENV=DIR         the development environment, in which the emulated kernels are tested
#
# What is built goes to build/: neither the CPU build in clever_ext/ nor VENV is touched.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
venv=${VENV:-.venv}
cuda_venv=${CUDA_VENV:-.venv-cuda}
step() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

# As setup.py looks for it.
nvcc=${CUDA_HOME:+$CUDA_HOME/bin/nvcc}
[[ -x ${nvcc:-} ]] || nvcc=$(command -v nvcc || command -v /usr/local/cuda/bin/nvcc || true)
if [[ -z $nvcc ]]; then
  echo "nvcc was not found. Install the CUDA toolkit 13.0 (nvcc and cudart are enough; no GPU and" >&2
  echo "no driver are needed), and set CUDA_HOME to its folder or put its bin on the PATH." >&2
  exit 1
fi

step "environment with torch's CUDA build: $cuda_venv"
requirements=$("${PYTHON:-$venv/bin/python}" - <<'PYTHON'
import re
from pathlib import Path

text = Path("pyproject.toml").read_text()
listed = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)[1]
print(" ".join(["torch==2.11.0", *re.findall(r'"(.*?)"', listed), "setuptools>=77", "cmake", "ninja",
                "nvidia-cuda-nvdisasm>=13,<14"]))
PYTHON
)
# 4.6 GB: nothing is asked for again while the list stays the same.
if [[ $(cat "$cuda_venv/.requirements" 2>/dev/null) != "$requirements" ]]; then
  [[ -x $cuda_venv/bin/python ]] || "${PYTHON:-$venv/bin/python}" -m venv "$cuda_venv"
  # shellcheck disable=SC2086 # a list of words
  "$cuda_venv/bin/pip" install --quiet $requirements
  echo "$requirements" > "$cuda_venv/.requirements"
fi
cuda_python=$(cd "$cuda_venv" && pwd)/bin/python

step "_C_cuda with $nvcc"
if [[ ${ARCH:-} == all ]]; then
  unset TORCH_CUDA_ARCH_LIST # setup.py's own list
else
  export TORCH_CUDA_ARCH_LIST="7.5;9.0+PTX"
fi
package=build/cuda-package
stamp=$package/.architectures
# setup.py begins each build afresh, which takes minutes here: not while the sources are the same.
if [[ $(cat "$stamp" 2>/dev/null) != "${TORCH_CUDA_ARCH_LIST:-all}" ]] ||
  [[ -n $(find csrc CMakeLists.txt setup.py pyproject.toml -type f -newer "$stamp") ]]; then
  rm -rf "$package"
  mkdir -p "$package"
  # build_ext alone, and the Python files copied: setup.py's `build` would also take along the CPU
  # library that lies in clever_ext/, under the name of the one that is built here.
  PATH="$(dirname "$cuda_python"):$(dirname "$nvcc"):$PATH" CLEVER_WITH_CUDA=1 \
    "$cuda_python" setup.py --quiet build_ext --build-lib "$package"
  echo "${TORCH_CUDA_ARCH_LIST:-all}" > "$stamp"
fi
find clever_ext -type f ! -name '*.so' ! -path '*/__pycache__/*' -exec cp --parents {} "$package" \;
# The package asks its own metadata for its version.
"$cuda_python" setup.py --quiet egg_info --egg-base "$package"

step "loading, registration, fakes and checks, without a GPU"
# Run from elsewhere, so that the checkout's own clever_ext is not found first.
(cd build && PYTHONPATH=$root/$package PYTHONSAFEPATH=1 \
  "$cuda_python" "$root/tools/check_cuda_half.py" "$root/$package")

# Two minutes of one core, beside the steps that follow.
CUDA_HOME=$(dirname "$(dirname "$nvcc")") "$cuda_python" tools/sass.py --check > build/sass.log 2>&1 &
counted=$!

step "the CUDA kernels for the host, under the emulator"
torch=$("$venv/bin/python" -c 'import torch; print(torch.__path__[0])')
PATH="$(cd "$venv" && pwd)/bin:$PATH" # cmake and ninja
for sanitize in OFF ON; do
  folder=build/emulated-sanitize-$sanitize
  cmake -G Ninja -S . -B "$folder" -DCLEVER_EMULATION=ON -DCLEVER_SANITIZE=$sanitize -DCLEVER_DRIVER=ON \
    "-DCLEVER_TORCH_DIR=$torch" "-DCLEVER_OUTPUT_DIR=$root/$folder" > /dev/null
  cmake --build "$folder" --parallel "${MAX_JOBS:-2}"
  "$folder/cuda_driver"
done

step "their tests and the seeded faults, and their comparison with the CPU's under AddressSanitizer"
# Side by side, one core each. libstdc++ too is loaded first: AddressSanitizer looks for its
# functions before anything else loads it. Nothing is captured: it would be lost in a report.
sanitized_log=build/emulated-sanitize-ON/pytest.log
LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)" \
  ASAN_OPTIONS=detect_leaks=0 \
  CLEVER_EMULATION_LIBRARY=$root/build/emulated-sanitize-ON/_C_emulated.so \
  "$venv/bin/python" -m pytest -p no:cacheprovider --capture=no -m "not cuda" -k emulated \
  tests/kernels/test_cuda_half.py > "$sanitized_log" 2>&1 &
sanitized=$!
plain_status=0 sanitized_status=0
CLEVER_EMULATION_LIBRARY=$root/build/emulated-sanitize-OFF/_C_emulated.so \
  "$venv/bin/python" -m pytest -m "not cuda" -k "emulated or seeded" tests || plain_status=$?
wait "$sanitized" || sanitized_status=$?
echo "under AddressSanitizer:"
cat "$sanitized_log"
step "registers, spills and instructions of the kernels against the committed ones"
counted_status=0
wait "$counted" || counted_status=$?
cat build/sass.log
step "done: exit status $plain_status, $sanitized_status under AddressSanitizer, $counted_status of the count"
((plain_status == 0 && sanitized_status == 0 && counted_status == 0))
