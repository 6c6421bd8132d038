# Two commands do all: `make demo` and `make test`. Both set up their own .venv.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3

.PHONY: demo test lint unit fast bench fuzz torture torture-short clean

demo: $(VENV)/.standalone
	$(BIN)/branchfront demo

test: $(VENV)/.test
	PATH="$(CURDIR)/$(BIN):$$PATH" ./.ci/checks

lint: $(VENV)/.test
	PATH="$(CURDIR)/$(BIN):$$PATH" ./.ci/checks lint

unit: $(VENV)/.test
	$(BIN)/python -m pytest -q tests/unit

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

# At least ten minutes of processor time.
fuzz: $(VENV)/.fuzz
	$(BIN)/python -m tests.fuzz

torture: $(VENV)/.test
	$(BIN)/python -m tests.torture

torture-short: $(VENV)/.test
	$(BIN)/python -m tests.torture --short

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.standalone: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[standalone]'
	touch $@

$(VENV)/.test: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	touch $@

$(VENV)/.fuzz: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,fuzz]'
	touch $@

$(VENV)/.bench: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[standalone,benchmark]'
	touch $@
