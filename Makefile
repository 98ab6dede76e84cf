# `make help` lists the targets. None needs root or CUDA; all can be run again.
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
# What the extension is made of: it is built again when one of these changes.
SOURCES := setup.py pyproject.toml CMakeLists.txt $(shell find csrc -type f)

.PHONY: help install demo test lint test-cuda bench clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch first and by itself: the extension is built against the one that is installed.
$(VENV)/.installed: $(BIN)/python $(SOURCES)
	$(BIN)/pip install --quiet "$(TORCH)" "setuptools>=77" wheel cmake ninja
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pip install --quiet --no-build-isolation -e ".[dev]"
	touch $@

install: $(VENV)/.installed ## make .venv and build the extension into it

demo: install ## score a pretrained ImageNet network on real photographs
	$(BIN)/python examples/demo.py

test: install ## run the whole test suite
	$(BIN)/python -m pytest

lint: install ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs $(BIN)/clang-format --dry-run --Werror

test-cuda: install ## build, link, load and emulate the CUDA half (needs nvcc, no GPU; ARCH=all for all GPUs)
	VENV=$(VENV) bash tools/test_cuda.sh

bench: install ## gradients per second against the model's bare passes
	$(BIN)/python benchmarks/overhead.py

clean: ## remove what was built, but not .venv
	rm -rf build clever_ext/*.so $(VENV)/.installed
