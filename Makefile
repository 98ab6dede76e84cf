# `make help` lists the targets. None needs root or CUDA; all can be run again.
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
# What the extension is made of: it is built again when one of these changes.
SOURCES := setup.py pyproject.toml CMakeLists.txt $(shell find csrc -type f)

.PHONY: help install demo notebooks test test-faults lint docs wheel test-cuda bench bench-quick validate-quick clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch first and by itself: the extension is built against the one that is installed. Advertorch
# last: two trained networks for the tests, used as data (LGPL/GPL); --no-deps, for what it asks for
# is years old, and none of it is needed to read a file of weights. Torchvision and timm, which the
# tests compare with: --no-deps, for they would bring a torch of their own; benchmarks/peers.py imports
# them beside the CPU torch.
$(VENV)/.installed: $(BIN)/python $(SOURCES)
	$(BIN)/pip install --quiet "$(TORCH)" "setuptools>=77" wheel cmake ninja
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pip install --quiet --no-build-isolation -e ".[dev]"
	$(BIN)/pip install --quiet --no-deps --no-build-isolation advertorch==0.2.3
	$(BIN)/pip install --quiet --no-deps torchvision==0.28.0 timm==1.0.31
	touch $@

install: $(VENV)/.installed ## make .venv and build the extension into it

demo: install ## score a pretrained ImageNet network on real photographs
	$(BIN)/python examples/demo.py

notebooks: install ## run the notebooks of examples/, and keep what their cells put out
	$(BIN)/python tools/notebooks.py

test: install ## run the whole test suite
	$(BIN)/python -m pytest

test-faults: install ## kill, damage and fill up runs, and feed them broken pictures (12 minutes)
	$(BIN)/python -m pytest -m faults -s tests/faults

lint: install ## check style, types, directions of imports, and what docs say and name
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/python benchmarks/tables.py --check
	$(BIN)/python tools/messages.py --check
	$(BIN)/python tools/docs_names.py
	git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' '*.inc' | xargs $(BIN)/clang-format --dry-run --Werror

docs: install ## build the documentation site into site/; a link that leads nowhere fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

$(VENV)/.wheel-installed: $(VENV)/.installed
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pip install --quiet --no-build-isolation -e ".[wheel]"
	touch $@

wheel: $(VENV)/.wheel-installed ## make a wheel and a source archive in dist/, and try the wheel
	VENV=$(VENV) TORCH="$(TORCH)" bash tools/make_wheel.sh

test-cuda: install ## build, link, load and emulate the CUDA half (needs nvcc, no GPU; ARCH=all for all GPUs)
	VENV=$(VENV) bash tools/test_cuda.sh

$(VENV)/.bench-installed: $(VENV)/.installed
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pip install --quiet --no-build-isolation -e ".[bench]"
	touch $@

# Each writes its raw rounds; tables.py makes the tables in README and docs from them.
BENCHMARKS := options overhead kernels fit cost toolbox floor memory
bench: $(VENV)/.bench-installed ## measure everything on this machine's CPU (an hour), and make the tables
	set -e; for name in $(BENCHMARKS); do \
	  $(BIN)/python benchmarks/$$name.py --out benchmarks/results/$$name-cpu.json; done
	$(BIN)/python benchmarks/tables.py

bench-quick: $(VENV)/.bench-installed ## a first look at the same, in two minutes; writes nothing
	set -e; for name in $(filter-out options,$(BENCHMARKS)); do \
	  $(BIN)/python benchmarks/$$name.py --quick; done

# Needs nothing that `make install` has not: Foolbox's attacks, its pictures, published weights.
validate-quick: install ## hold scores of two small networks and of photographs against attacks (10 minutes)
	cd benchmarks && ../$(BIN)/python validating.py

clean: ## remove what was built, but not .venv
	rm -rf build dist site clever_ext/*.so $(VENV)/.installed $(VENV)/.*-installed
