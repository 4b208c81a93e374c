# The commands of a checkout. `make run` shows the worked example, `make test` is what continuous integration runs.
#   PYTHON=PATH   the Python (at least 3.11) that the environment is made with      VENV=DIRECTORY   where it is put
#   ARGS=...      more arguments for dadmsctl run, pytest or a benchmark            BENCH=NAME       one benchmark instead of all

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

VENV ?= .venv
ARGS ?=
BENCH ?= $(basename $(notdir $(shell grep -l __main__ benchmarks/*.py)))
BIN = $(VENV)/bin
EXAMPLE = examples/uas_selection

# The first of these that is new enough: a distribution's python3 may be older than the one beside it.
ifndef PYTHON
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && exit; done; echo python3)
endif

.PHONY: help run test test-systemd test-vm chaos storm lint bench conformance fuzz soak-bus soak-restarts clean environment environment-dev

help: ## what there is to call
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

run: environment ## set up and run the worked example to its outcome
	@$(BIN)/dadmsctl run $(EXAMPLE)/uas_selection.bpmn --handlers $(EXAMPLE)/handlers.py --input $(EXAMPLE)/inputs.json $(ARGS)

# Both halves run even when the first fails, and pytest's summary comes last. Most tests wait for processes: a worker a core takes half the time, and a file stays with one.
test: environment-dev ## set up and check everything: ruff, mypy --strict, pytest
	@status=0; $(MAKE) lint VENV='$(VENV)' PYTHON='$(PYTHON)' || status=1; $(BIN)/python -m pytest -n auto --dist loadfile $(ARGS) || status=1; exit $$status

test-systemd: environment-dev ## the service under a real systemd, booted in namespaces; as root
	@$(BIN)/python -m tests.system.booting $(ARGS)

test-vm: environment-dev ## limits in a virtual machine with a pure cgroup v2; as root, three minutes at first
	@$(BIN)/python -m tests.system.machine $(ARGS)

chaos: environment-dev ## a minute of kill, stop and starve under load, then every invariant; SEED=N does one again
	@$(BIN)/python -m tests.chaos --seconds $(or $(SECONDS_OF_CHAOS),60) $(if $(SEED),--seed $(SEED)) $(ARGS)

storm: environment-dev ## six times 200 000 threads, forty workers killed, stopped or starved of memory in each, and in half of them the kernel killed; six minutes
	@DADMS_STORM=200000x40x3 $(BIN)/python -m pytest tests/fault/kernel/test_storm.py $(ARGS)

lint: environment-dev ## ruff and mypy --strict
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --diff .
	@$(BIN)/mypy

bench: environment-dev ## all benchmarks, a table each
	@status=0; for name in $(BENCH); do $(BIN)/python -m benchmarks.$$name $(ARGS) || status=1; done; exit $$status

conformance: environment-dev ## the DMN test suite; the last line is one JSON object
	@$(BIN)/python -m tests.conformance $(ARGS)

fuzz: environment-dev ## a million wrong messages against a real bus, then wrong requests against a real kernel; ARGS='--seed N' repeats a run, '--messages N --seconds S' bounds each
	@$(BIN)/python -m tests.fuzz $(ARGS)
	@$(BIN)/python -m tests.fuzz.kernel $(ARGS)

soak-bus: environment-dev ## a million messages while everything is killed and stopped at random (half an hour at most)
	@$(BIN)/python -m tests.fault.bus.loss $(ARGS)

soak-restarts: environment-dev ## a hundred thousand restarts: nothing may grow (half an hour at most); ARGS='--restarts N' for fewer
	@$(BIN)/python -m tests.soak $(ARGS)

clean: ## remove the environment and every cache
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

environment environment-dev: environment%:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		found="$$($(PYTHON) --version 2>/dev/null)" || found="no Python"; \
		echo "cannot set up: Python 3.11 or newer is needed, and $(PYTHON) is $$found; PYTHON=PATH takes another" >&2; exit 1; }
	@$(PYTHON) tools/environment.py '$(VENV)' $(subst -,,$*)
