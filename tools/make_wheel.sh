#!/usr/bin/env bash
# Makes the source archive and the wheel in dist/, and tries the wheel in a new environment without
# a compiler. `make wheel` calls this.
#
#   VENV=DIR    the development environment; the wheel is built with its torch
#   TORCH=SPEC  the torch that the new environment gets
#
# CLEVER_WITH_CUDA, TORCH_CUDA_ARCH_LIST and MAX_JOBS are as for setup.py. What is there already is
# not touched but for dist/: the wheel is built from the source archive, elsewhere.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(cd "${VENV:-.venv}" && pwd)/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
step() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }
export PATH=$bin:$PATH # cmake, ninja and patchelf

step "the source archive"
rm -rf dist
python -m build --quiet --sdist --no-isolation

step "the wheel, from it"
pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$work/linux" dist/*.tar.gz

step "its platform"
# torch's libraries stay where torch is installed. As in pyproject.toml, for cibuildwheel.
auditwheel repair --exclude 'libtorch*' --exclude 'libc10*' --wheel-dir dist "$work"/linux/*.whl
python tools/check_wheel.py dist/*.whl
twine check --strict dist/*

step "a new environment with ${TORCH:-torch}"
python -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile "${TORCH:-torch}" "$(ls "$PWD"/dist/*.whl)[demo]"

step "the wheel at work, without a compiler"
cd "$work" # not the checkout, whose own clever_ext would be found first
alone() { env -i PATH="$work/venv/bin" HOME="$work" "$@"; }
alone python -c 'import shutil; assert not any(map(shutil.which, ["cc", "c++", "cmake", "nvcc"]))'
alone python -c 'import clever_ext; print(clever_ext.__file__)'
alone clever-ext doctor
pictures=$(alone python -c 'from clever_ext.data import sample_pictures; print(sample_pictures().path)')
alone clever-ext score --model efficientnet-lite0 --images "$pictures" --include 'imagenet_*.jpg' \
  --limit 2 --estimator steepest --max-gradients 16 --targets top2 --device-batch 4 --clip 0 1 \
  --out run
step "done: $(cd "$OLDPWD" && ls dist)"
