# make demo   run the real thing on loopback, with example services and a key
# make test   every test (those that need a missing program skip and say so)
# make bench  what a message, a handshake and a session cost, beside nginx and others (8 minutes)
# make soak   everything at once for five minutes, then a look for what was lost or left behind
# make screenshots   the console's pictures in docs/images (two minutes; Linux, needs Chromium)
# make check  format, lint, types, floors, tests, coverage: what a change must pass

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One worker a core; the tests of a file stay together, since they share gateways.
SPREAD := -n auto --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo test bench soak screenshots check format clean

help:
	@sed -n 's/^# //p' Makefile

# The stamp is remade when the dependencies change; pip stays quiet unless it fails.
$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "wskeeper needs Python 3.11 or newer; set PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Setting up $(VENV) (once) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --group dev --editable .
	@touch $@

demo: $(VENV)/.ready
	@$(BIN)/wskeeper demo

test: $(VENV)/.ready
	@$(BIN)/python -m pytest $(SPREAD)

bench: $(VENV)/.ready
	@$(BIN)/python -m benchmarks --plot docs/images/benchmark.svg

screenshots: $(VENV)/.ready
	@$(BIN)/python -m docs.screenshots

soak: $(VENV)/.ready
	@$(BIN)/python -m soak

check: $(VENV)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(SPREAD)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

format: $(VENV)/.ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis node_modules
