# Two commands: `make demo` and `make test`. Both make the environment first; PYTHON chooses the interpreter.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.installed

.PHONY: demo test fast check environment browser
demo: $(READY)
	$(BIN)/sfg-med demo --out demo

test: $(READY) check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m "not slow" --durations=20
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m slow --durations=20

fast: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "not slow" --durations=20

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

environment: $(READY)

# For the tests of pages, which skip without it; not part of the environment, since it is large.
browser: $(READY)
	apt-get update && apt-get install --yes --no-install-recommends chromium
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[browser]"

# torch comes first and pinned: an open range would take a build with several GB of GPU libraries on a machine without one.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,export,conflict,dose,mlflow,registration]"
	touch $(READY)
