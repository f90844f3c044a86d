# Works from a clean clone. Needs Python 3.10 or 3.11, make and a C compiler; `make help` lists the targets.
PYTHON ?= $(shell command -v python3.11 || command -v python3.10 || command -v python3)
VENV ?= .venv
BIN = $(VENV)/bin
export OMP_NUM_THREADS ?= 1

FUZZ_S ?= 60

.PHONY: help learn test lint types check canary kill-test fuzz clean

help:
	@echo "make learn      set up, learn to walk forward and backward in the twin, evaluate, report"
	@echo "make test       set up, run the tests"
	@echo "make check      lint (ruff, import-linter) and types (mypy)"
	@echo "make canary     30 robot seconds of learning, and a check of what it left"
	@echo "make kill-test  kill a run 200 times and resume it, about 15 minutes"
	@echo "make fuzz       coverage-guided fuzzing of the wire protocol for FUZZ_S seconds (60)"
	@echo "make clean      remove the environment and what was built"

$(VENV)/.learn: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 11))' || \
		{ echo "error: PyBullet has wheels for Python 3.10 and 3.11 only, this is" \
		"$$($(PYTHON) --version); install one of those, or run make PYTHON=/path/to/python3.11"; \
		exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[sim,report]"
	@touch $@

$(VENV)/.dev: $(VENV)/.learn
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[sim,report,export,teleop,camera,mocap,dev]"
	@touch $@

RUN ?= runs/first-walk
learn: $(VENV)/.learn
	$(BIN)/robot learn --terrain flat --run-dir $(RUN)
	$(BIN)/robot eval $(RUN)
	$(BIN)/robot report $(RUN)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache

types: $(VENV)/.dev
	$(BIN)/mypy

check: lint types

canary: $(VENV)/.learn
	$(BIN)/python benchmarks/canary.py

kill-test: $(VENV)/.dev
	$(BIN)/python benchmarks/durability.py --kills 200

fuzz: $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[fuzz]"
	$(BIN)/python benchmarks/fuzz_wire.py -max_total_time=$(FUZZ_S)

clean:
	rm -rf $(VENV) build dist *.egg-info
