# make demo   runs the main job; make test passes the tests. Both set up .venv on a fresh machine and are quick the second time.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench twin twin-down twin-status clean

help: ## this text
	@echo "longview: experiments on SLURM supercomputers, checked before they run. Targets:"
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14 | sed 's/^/  make /'
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
	$(BIN)/ruff check src tests scripts slurm notebooks run.py
	$(BIN)/ruff format --check src tests scripts slurm notebooks run.py
	$(BIN)/mypy
	$(BIN)/mypy --explicit-package-bases slurm

format: $(READY) ## put the style right
	$(BIN)/ruff check --fix src tests scripts slurm notebooks run.py
	$(BIN)/ruff format src tests scripts slurm notebooks run.py

bench: $(READY) ## measure speed and memory (some minutes); figures go to docs/benchmarks.md
	for b in scripts/bench/[a-z]*.py; do echo "== $$b"; $(BIN)/python $$b || exit 1; done

CLUSTER ?=
NODES   ?= 4

twin: $(READY) ## a real SLURM on this machine, made from a cluster's YAML: make twin CLUSTER=juwels [NODES=4] (Debian, root)
	@$(BIN)/python -m slurm.twin up $(or $(CLUSTER),juwels) --nodes $(NODES) $(ARGS)

twin-down: $(READY) ## end it and delete its folder: make twin-down [CLUSTER=juwels], without CLUSTER all of them
	@$(BIN)/python -m slurm.twin down $(CLUSTER) $(ARGS)

twin-status: $(READY) ## what runs, what is queued, where it differs from the site
	@$(BIN)/python -m slurm.twin status $(CLUSTER) $(ARGS)

clean: ## remove the virtual environment and caches; runs stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build src/*.egg-info
