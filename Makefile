# `make help` lists what there is to do. Every target sets up .venv first if it needs it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# further arguments of demo and test, as in: make demo ARGS='seed=0,1'
ARGS ?=

.PHONY: help .venv demo test test-full lint format wheel gpu-check clean clean-outputs

help: ## list these targets
	@awk -F ':.*## ' '/^[.a-z0-9-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv: $(READY) ## set up the environment, once for these pyproject.toml and constraints.txt

$(READY): pyproject.toml constraints.txt
	@echo "setting up .venv (a few minutes) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --disable-pip-version-check -qq -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY) ## the main job: which corpus made the model say toxic things? (ARGS=...)
	@$(BIN)/python -m untrac_exp +experiment=toxicity $(ARGS)

test: $(READY) ## the test suite without its slow tests (ARGS=...)
	@$(BIN)/python -m pytest -q $(ARGS)

test-full: $(READY) ## the whole test suite (ARGS=...)
	@$(BIN)/python -m pytest -q -m 'slow or not slow' $(ARGS)

lint: $(READY) ## formatting, ruff's rules and types
	@$(BIN)/ruff format --check -q || { echo "not formatted: run 'make format'"; exit 1; }
	@$(BIN)/ruff check
	@$(BIN)/mypy

format: $(READY) ## format, and mend what ruff can mend
	@$(BIN)/ruff check -q --fix-only
	@$(BIN)/ruff format

wheel: $(READY) ## build dist/untrac_exp-*.whl, conf/ included
	@$(BIN)/python -m hatchling build -t wheel

clean: ## remove .venv, builds and caches; results stay
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

clean-outputs: ## remove outputs/: every result and stored artifact
	rm -rf outputs

gpu-check: $(READY) ## compare an accelerator with the CPU, and cost OPT-125M on it (needs CUDA)
	@$(BIN)/python experiments/gpu_check/check.py $(ARGS)
