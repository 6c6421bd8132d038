# Two commands do all: `make demo` and `make test`. Both set up their own .venv.
VENV := .venv
BIN := $(VENV)/bin
comma := ,
PYTHON ?= python3

.PHONY: demo test lint unit fast bench fuzz torture torture-short images clean

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

# Both images for docker-compose.yml; other names, bases, and another index of packages, by the same variables as there.
images:
	docker build --file docker/frontend.Dockerfile $(call given,NGINX_IMAGE $(PIP)) --tag $(or $(FRONTEND_IMAGE),branchfront/frontend) .
	docker build --file docker/registrar.Dockerfile $(call given,PYTHON_IMAGE $(PIP)) --tag $(or $(REGISTRAR_IMAGE),branchfront/registrar) .

PIP := PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST
given = $(foreach name,$(1),$(if $($(name)),--build-arg $(name)))

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.standalone: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[standalone]'
	touch $@

# What drives a browser is large: only where there is one.
BROWSER := $(if $(shell command -v chromium),$(comma)browser)

$(VENV)/.test: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint$(BROWSER)]'
	touch $@

$(VENV)/.fuzz: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,fuzz]'
	touch $@

$(VENV)/.bench: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[standalone,benchmark]'
	touch $@
