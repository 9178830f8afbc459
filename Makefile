# make demo   runs the main job; make test passes the tests. Both set up .venv on a fresh machine and are quick the second time.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench clean

help: ## this text
	@echo "longview: experiments on SLURM supercomputers, checked before they run. Targets:"
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12 | sed 's/^/  make /'
	@echo "Extra arguments: make demo ARGS=\"trainer.max_epochs=2\", make test ARGS=\"-k scan\""

setup: $(READY) ## make .venv and install longview with what was tested (constraints.txt)

# torch first: its pinned version is the CPU build where one is offered, and nothing later pulls in another.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("longview needs Python 3.10 or newer; call make with PYTHON=python3.11" if sys.version_info < (3, 10) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(READY) ## the main job: train MANTA on generated kitchen activities, score it, draw it (about two minutes)
	$(BIN)/python run.py $(ARGS)

test: $(READY) ## all tests; those that need ../shared (or LONGVIEW_DATA, LONGVIEW_PARITY) skip with a reason where it is absent
	$(BIN)/python -m pytest $(ARGS)

lint: $(READY) ## style and types
	$(BIN)/ruff check src tests scripts notebooks run.py
	$(BIN)/ruff format --check src tests scripts notebooks run.py
	$(BIN)/mypy

format: $(READY) ## put the style right
	$(BIN)/ruff check --fix src tests scripts notebooks run.py
	$(BIN)/ruff format src tests scripts notebooks run.py

bench: $(READY) ## measure speed and memory (some minutes); figures go to docs/benchmarks.md
	for b in scripts/bench/[a-z]*.py; do echo "== $$b"; $(BIN)/python $$b || exit 1; done

clean: ## remove the virtual environment and caches; runs stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build src/*.egg-info
