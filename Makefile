# The one entry point to everything: `make` lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
JOBS ?= $(shell nproc)
PY := $(VENV)/bin/python
RELEASE := build/release
export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)

# One release tree for all: what is tested is what is shipped.
PIP_BUILD := --no-deps --no-build-isolation --config-settings=build-dir=$(RELEASE) \
  --config-settings=cmake.define.RAYC_WERROR=ON
PIP := $(PY) -m pip -qq --disable-pip-version-check
CTEST := ctest --output-on-failure -j $(JOBS) --test-dir
CONFIGURE := cmake -S . -G Ninja -Wno-dev -DRAYC_BUILD_TESTS=ON
# Everything that goes into the package.
SOURCES := CMakeLists.txt pyproject.toml README.md LICENSE \
  $(shell find src python cmake third_party/cmake -type f -not -path '*/__pycache__/*')

## Use
.PHONY: help demo install
help:  ## this list
	@sed -nE 's/^## (.*)/\n\1/p; s/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 22

demo: setup $(VENV)/.rayc $(VENV)/.demo  ## build, then watch ten actors play Pong (two minutes)
	$(PY) examples/pong.py --demo

install: setup $(VENV)/.rayc  ## build, and install into .venv

## Test
.PHONY: test test-cpp test-cpp-asan test-python asan tsan
test: setup $(VENV)/.rayc test-cpp test-cpp-asan test-python  ## everything that a change must pass

test-cpp: $(VENV)/.rayc  ## C++ tests, release build
	cmake -DRAYC_BUILD_TESTS=ON $(RELEASE) > /dev/null
	cmake --build $(RELEASE)
	$(CTEST) $(RELEASE)

test-cpp-asan:  ## C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer
	$(CONFIGURE) -B build/asan -DCMAKE_BUILD_TYPE=Debug -DRAYC_SANITIZE=address -DRAYC_BUILD_PYTHON=OFF > /dev/null
	cmake --build build/asan
	ASAN_OPTIONS=detect_leaks=1 $(CTEST) build/asan

test-python: $(VENV)/.rayc $(VENV)/.dev  ## Python tests against the package in .venv; ARGS= goes to pytest
	$(PY) -m pytest $(ARGS)

# The interpreter itself is not built with the sanitizer: its runtime is loaded first (libstdc++ with
# it, whose exceptions it intercepts), and what the interpreter never frees is not counted as leaks.
# Reports go to files, because a worker's or raylet's would fail no test.
ASAN_SITE := $(CURDIR)/build/asan/site
ASAN_REPORT := $(CURDIR)/build/asan/report
asan: setup $(VENV)/.rayc $(VENV)/.dev  ## C++ and Python tests under AddressSanitizer
	$(CONFIGURE) -B build/asan -DCMAKE_BUILD_TYPE=Debug -DRAYC_SANITIZE=address -DRAYC_BUILD_PYTHON=ON \
	  -DPython_EXECUTABLE=$(CURDIR)/$(PY) > /dev/null
	cmake --build build/asan
	ASAN_OPTIONS=detect_leaks=1 $(CTEST) build/asan
	rm -rf $(ASAN_SITE) && cmake --install build/asan --prefix $(ASAN_SITE) > /dev/null
	cp -r python/rayc/. $(ASAN_SITE)/rayc
	rm -f $(ASAN_REPORT).*
	PYTHONPATH=$(ASAN_SITE) \
	  LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0:log_path=$(ASAN_REPORT) \
	  UBSAN_OPTIONS=print_stacktrace=1:log_path=$(ASAN_REPORT) \
	  $(PY) -m pytest tests/python -o timeout=600 $(ARGS)
	@if compgen -G '$(ASAN_REPORT).*' > /dev/null; then cat $(ASAN_REPORT).*; exit 1; fi

tsan: setup  ## C++ tests under ThreadSanitizer
	$(CONFIGURE) -B build/tsan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DRAYC_SANITIZE=thread -DRAYC_BUILD_PYTHON=OFF > /dev/null
	cmake --build build/tsan
	setarch -R $(CTEST) build/tsan

## Measure
.PHONY: bench bench-ray
bench: setup $(VENV)/.rayc  ## rates, start-up and memory, on this machine; ARGS="--quick --rows REGEX"
	$(PY) benchmarks/ping_pong.py
	$(PY) benchmarks/microbenchmark.py $(ARGS)
	$(PY) benchmarks/plasma.py $(ARGS)

# Ray comes from its wheel, into an environment of its own: nothing here depends on it.
RAY_VENV := build/ray-venv
bench-ray: setup $(VENV)/.rayc $(RAY_VENV)/.ray  ## the same on Ray too, into README.md and docs/benchmarks.md
	$(PY) benchmarks/microbenchmark.py --engine both --ray-python $(RAY_VENV)/bin/python \
	  --json build/bench-ray.json $(ARGS)
	$(PY) benchmarks/plasma.py --engine both --ray-python $(RAY_VENV)/bin/python \
	  --json build/bench-ray-plasma.json $(ARGS)
	$(PY) benchmarks/report.py build/bench-ray.json build/bench-ray-plasma.json

## Check
.PHONY: lint tidy format
lint: setup setup-lint $(VENV)/.rayc $(VENV)/.dev  ## formatting, types, layers, clang-tidy of what changed
	git ls-files -co --exclude-standard '*.cc' '*.h' '*.cpp' | xargs clang-format --dry-run -Werror
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(PY) tools/check_layers.py
	$(PY) tools/tidy.py

tidy: setup setup-lint $(VENV)/.dev  ## clang-tidy of every file
	$(PY) tools/tidy.py --all

format: setup-lint $(VENV)/.dev  ## format C++ and Python in place
	git ls-files -co --exclude-standard '*.cc' '*.h' '*.cpp' | xargs clang-format -i
	$(VENV)/bin/ruff check --fix-only --quiet .
	$(VENV)/bin/ruff format .

## Ship
.PHONY: wheel
wheel: setup $(VENV)/.dev  ## a wheel in dist/ that installs where no compiler is
	rm -rf build/wheel dist && mkdir -p build/wheel
	$(PIP) wheel $(PIP_BUILD) -w build/wheel .
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/auditwheel repair --plat auto -w dist build/wheel/rayc-*.whl
	$(PY) tools/check_wheel.py dist/rayc-*.whl

## Set up
.PHONY: setup setup-lint clean
setup:  ## Debian packages, if any is missing
	@tools/setup.sh third_party/debian-packages.txt

setup-lint:
	@tools/setup.sh third_party/debian-packages-lint.txt

clean:  ## remove everything that was built
	rm -rf build dist $(VENV)

$(PY):
	$(PYTHON) -m venv $(VENV)

# Stamps: what the environment holds, made again when what it is made of changes.
$(VENV)/.build: pyproject.toml tools/requirements.py | $(PY)
	$(PIP) install $$($(PY) tools/requirements.py build runtime)
	@touch $@

$(VENV)/.dev: pyproject.toml tools/requirements.py $(VENV)/.build
	$(PIP) install $$($(PY) tools/requirements.py dev)
	@touch $@

$(VENV)/.demo: pyproject.toml tools/requirements.py $(VENV)/.build
	$(PIP) install $$($(PY) tools/requirements.py demo)
	@touch $@

$(RAY_VENV)/.ray:
	$(PYTHON) -m venv $(RAY_VENV)
	$(RAY_VENV)/bin/pip install -qq --disable-pip-version-check 'ray==2.60.*' numpy
	@touch $@

# Not editable, so that what is tested is what users get; the build folder stays, so that ninja
# compiles what changed and no more.
$(VENV)/.rayc: $(SOURCES) $(VENV)/.build
	$(PIP) install $(PIP_BUILD) --force-reinstall .
	@touch $@
