# `make serve` reads the site with live reload, `make test` runs every check; both set up all they need.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS ?= 2
PYTHON ?= $(firstword $(foreach p,python3.13 python3.12 python3.11 python3 python,$(if $(shell $(p) -c 'import sys; print(sys.version_info >= (3, 11) or "")' 2>/dev/null),$(p))))
export OMP_NUM_THREADS ?= 1
export PYTHONUTF8 := 1
export TRITON_CACHE_DIR ?= $(CURDIR)/build/triton

.PHONY: help env serve site test lint types contracts links unit browser bench wheel format clean

help: ## Show the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

env: $(READY) ## Make the environment in .venv (done by the others when needed)

$(READY): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then \
	  echo "No Python 3.11 or newer was found: install one (Debian: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python" >&2; exit 2; fi
	@if [ -d $(VENV) ] && ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  echo "The environment in $(VENV) does not run any more: making it anew" >&2; rm -rf $(VENV); fi
	@if [ ! -d $(VENV) ]; then $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make an environment: install its venv module (Debian: apt-get install python3-venv)" >&2; exit 2; }; fi
	@echo "Installing the packages of constraints.txt into $(VENV) (some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

serve: $(READY) ## Serve the site in both languages and rebuild what is edited
	@$(BIN)/ssm-notes run
	@$(BIN)/ssm-notes serve

site: $(READY) ## Build the site into site/
	@$(BIN)/ssm-notes run
	@$(BIN)/ssm-notes build

test: ## Run everything that CI runs
	@$(MAKE) --no-print-directory lint types contracts unit links site browser
	@echo "make test: every check passed"

lint: $(READY)
	@echo "== format and lint"
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --diff --quiet . | head -60; echo "Not formatted: run 'make format'" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .

types: $(READY)
	@echo "== types"
	@$(BIN)/mypy

contracts: $(READY)
	@echo "== import contracts"
	@$(BIN)/lint-imports | tail -n 12

links: $(READY)
	@echo "== notes, links and ties"
	@$(BIN)/ssm-notes check

unit: $(READY)
	@echo "== tests, doctests and snippets"
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile -m 'not browser' --doctest-modules tests ssm_ref kernels/ssm_kernels tools/ssm_tools

browser: $(READY)
	@echo "== browser"
	@$(BIN)/python -m pytest -q -m browser tests/browser

bench: $(READY) ## Print every CPU figure with its target
	@for f in tests/bench/bench_*.py; do $(BIN)/python $$f; done

wheel: $(READY) ## Build the wheel and the source archive into dist/
	@$(BIN)/python -m build

format: $(READY) ## Format the code and repair what the linter can
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

clean: ## Remove everything that was built (the environment stays)
	rm -rf build site dist .pytest_cache .mypy_cache .ruff_cache
