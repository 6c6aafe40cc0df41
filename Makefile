# `make` alone lists the targets. Each does its own set-up; a second call starts in seconds.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

DATASET ?= sp500
PRESET ?= quick

.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(STAMP)  ## make .venv with the tested set of packages

# torch goes first and by exact version: the other packages then find it and fetch no other build.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) or sys.version_info >= (3, 14))' \
	  || { echo "Timeloom needs Python 3.11 to 3.13; set one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,postgres,remote]'
	@touch $@

run: $(STAMP)  ## the main job on DATASET (sp500) with PRESET (quick)
	$(BIN)/timeloom run $(DATASET) --preset $(PRESET)

# A file's tests stay in one process, whose servers and lake they share.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test: $(STAMP)  ## the tests that CI runs
	$(PYTEST) -m 'not slow'

test-all: $(STAMP)  ## these and the slow ones
	$(PYTEST)

search: $(STAMP)  ## the property tests with new examples every time
	HYPOTHESIS_PROFILE=search $(PYTEST) -m 'not slow' tests/unit

lint: $(STAMP)  ## style, layers, types of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(STAMP)  ## mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(STAMP)  ## mypy, strict
	$(BIN)/mypy

bench: $(STAMP)  ## figures for tests/benchmarks/RESULTS.md
	$(BIN)/python -m tests.benchmarks.train_speed
	$(BIN)/python -m tests.benchmarks.main_job
	$(BIN)/python -m tests.benchmarks.windows
	$(BIN)/python -m tests.benchmarks.ingestion --rows 10000000

serve: $(STAMP)  ## the train flow as a deployment, run here
	$(BIN)/timeloom serve $(DATASET)

ui: $(STAMP)  ## the Prefect and MLflow pages
	$(BIN)/timeloom ui

clean:  ## remove what was derived: the lake, caches; the environment stays
	rm -rf data/lake .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find core tasks flows tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help setup run test test-all search lint format typecheck bench serve ui clean
