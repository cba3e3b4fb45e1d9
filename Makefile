# `make help` lists what there is to do. Every target sets up .venv first if it needs it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# a process for each core
PYTEST := $(BIN)/python -m pytest -q -n auto --dist loadfile
# further arguments of demo and test, as in: make demo ARGS='seed=0,1'
ARGS ?=
# preset of the paper's tables and figures: mini or paper
SCALE ?= mini
# sweeps at a time in `make paper`; at mini scale each uses all cores, if not all the time
JOBS ?= 2

TABLES := table2 table3 table4 table5
FIGURES := figure2 figure3 figure4
BEYOND := cost objectives scaling

.PHONY: help .venv demo test test-full lint format docs wheel gpu-check clean clean-outputs sync \
	paper leaderboard $(TABLES) $(FIGURES) $(BEYOND)

help: ## list these targets
	@awk -F ':.*## ' '/^[.a-z0-9-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv: $(READY) ## set up the environment, once for these pyproject.toml and constraints.txt

$(READY): pyproject.toml constraints.txt
	@echo "setting up .venv (a few minutes) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --disable-pip-version-check -qq -c constraints.txt -e '.[dev,docs]'
	@touch $@

demo: $(READY) ## the main job: which corpus made the model say toxic things? (ARGS=...)
	@$(BIN)/python -m untrac_exp +experiment=toxicity $(ARGS)

test: $(READY) ## the test suite without its slow tests (ARGS=...)
	@$(PYTEST) $(ARGS)

test-full: $(READY) ## the whole test suite (ARGS=...)
	@$(PYTEST) -m 'slow or not slow' $(ARGS)

# A sweep is run when its mark is missing or older than its configuration. It skips the jobs whose
# results are there, so a killed one goes on. Delete the mark to have all its jobs looked at again.
done = $(foreach sweep,$(1),outputs/$(sweep)/$(SCALE)/.done)

outputs/%/$(SCALE)/.done: conf/experiment/%.yaml | $(READY)
	@$(BIN)/python -m untrac_exp +experiment=$* scale=$(SCALE)
	@touch $@

$(TABLES): %: $(READY)
	@$(BIN)/python -m experiments.$*.table --scale $(SCALE)

$(FIGURES) $(BEYOND): %: $(READY)
	@$(BIN)/python -m experiments.$*.figure --scale $(SCALE)

table2: $(call done,tasks_a tasks_b) ## tables and figures of the paper: run what is missing, draw (SCALE=mini)
table3: $(call done,harms harms_unequal) ##
table4: $(call done,sensitivity_optimizer sensitivity_lr) ##
table5: $(call done,harms harms_unequal) ##
figure2: $(call done,tasks_a tasks_b) ##
figure3: $(call done,sensitivity_epochs) ##
figure4: $(call done,truth_budget) ##
cost: $(call done,harms) ## beyond the paper: agreement against cost; also objectives, scaling
objectives: $(call done,objectives) ##
scaling: $(call done,scaling_corpora scaling_model) ##

# The sweeps with most to do, which need different truths, come first.
paper: ## all tables and figures of the paper in outputs/paper/ (SCALE=mini, JOBS=2 sweeps at a time)
	@$(MAKE) -j $(JOBS) table3 table2 table4 figure4 figure3 table5 figure2

leaderboard: $(READY) ## the methods on the sealed worlds: three hours, or what is missing
	@$(BIN)/python -m untrac_exp +experiment=worlds corpora.world=4,5,6,7,8,9,10,11 '~hydra.callbacks.report'
	@$(BIN)/python -m experiments.worlds.agreement sealed --collect outputs/worlds/mini

sync: $(READY) ## upload the W&B runs that were logged offline
	@cd outputs && ../$(BIN)/wandb sync --yes

lint: $(READY) ## formatting, ruff's rules, types and the order of imports
	@$(BIN)/ruff format --check -q || { echo "not formatted: run 'make format'"; exit 1; }
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache > /dev/null || $(BIN)/lint-imports --no-cache

format: $(READY) ## format, and mend what ruff can mend
	@$(BIN)/ruff check -q --fix-only
	@$(BIN)/ruff format

docs: $(READY) ## the documentation site in site/, warnings as errors
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --clean

wheel: $(READY) ## build dist/untrac_exp-*.whl, conf/ included
	@$(BIN)/python -m hatchling build -t wheel

clean: ## remove .venv, builds and caches; results stay
	rm -rf .venv build dist site .mypy_cache .pytest_cache .ruff_cache
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

clean-outputs: ## remove outputs/: every result and stored artifact
	rm -rf outputs

gpu-check: $(READY) ## compare an accelerator with the CPU, and cost OPT-125M on it (needs CUDA)
	@$(BIN)/python -m experiments.gpu_check.check $(ARGS)
