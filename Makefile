# Two commands do everything on a machine with Python 3.11 or newer: `make demo` and `make test`.
.PHONY: demo test mypy pyright test-slow test-floors format clean
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
# What pip compiles or reads when it installs.
BUILD := pyproject.toml constraints.txt setup.py $(wildcard compression/*.c compression/*.h models/recommend/*.c)
# The first Python on the path that is new enough.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && { echo $$p; break; }; done)

demo: $(VENV)/.train ## makes a game, trains, scores, serves, asks once
	PATH="$(CURDIR)/$(BIN):$$PATH" sh demo.sh

test: $(VENV)/.dev ## every check and the fast tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory -j2 mypy pyright
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder

mypy pyright: $(VENV)/.dev ## checks of types, side by side in `make test`
	$(BIN)/$@

test-slow: $(VENV)/.dev ## the tests that take minutes
	$(BIN)/pytest -q -m slow

test-floors: ## the tests at the oldest versions that pyproject.toml allows; downloads gigabytes
	$(PYTHON) -m venv .venv-floors
	$(PYTHON) tests/floors.py > .venv-floors/floors.txt
	.venv-floors/bin/pip install -q -c .venv-floors/floors.txt -e '.[dev]'
	.venv-floors/bin/pytest -q

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .venv-floors demo build *.egg-info compression/*.so models/recommend/*.so

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed; name one with PYTHON=…"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.train: $(BIN)/python $(BUILD)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[train]'
	@touch $@

$(VENV)/.dev: $(BIN)/python $(BUILD)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.train
