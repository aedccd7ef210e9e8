# `make` lists the targets. Those that need .venv create it the first time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test lint faults clean

help:  ## list the targets
	@awk -F ':.*  ## ' '/^[a-z]+:.*  ## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

ENGINE := src/bitstill/engine

$(INSTALLED): pyproject.toml constraints.txt hatch_build.py $(wildcard $(ENGINE)/*.[ch]) $(ENGINE)/compiler.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "bitstill needs Python 3.11 or newer: make PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

install: $(INSTALLED)  ## create .venv and install bitstill there

demo: $(INSTALLED)  ## train Tables 1 to 4, shortened, on small digits, and report: minutes
	$(BIN)/bitstill train -m experiment=quick
	$(BIN)/bitstill report multirun/quick

lint: $(INSTALLED)  ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# Here Hypothesis tries the same values every time. `make faults` tries new ones in tests/faults;
# pytest without the seed does so in all tests.
test: lint  ## lint, then all tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder --durations 15 \
		--hypothesis-seed=0

faults: $(INSTALLED)  ## try to break it: bad input, random bytes, foreign code, kills, full disks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist loadfile -p tests.faults.summary tests/faults

clean:  ## remove the environment and caches; runs stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
