# Two commands for a new user, `make demo` and `make test`; `make help` lists all.
# Needs GNU make and Python 3.11 or newer: `make demo PYTHON=python3.12` picks another interpreter.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Ray and Spark take half a gigabyte, which the demo does without.
WITH_CLUSTERS := $(VENV)/.with-clusters
TYPES := build/types/widedeep
WHEEL := build/wheel

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test test-slow test-all lint types wheel-test bench protos clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(INSTALLED)  ## create .venv and install the project with what the demo and the tests need

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "widedeep needs Python 3.11 or newer;" \
	  "$(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
	  exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[export,train,batch,test]'
	@touch $@

$(WITH_CLUSTERS): $(INSTALLED)
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[export,train,batch,ray,spark,test]'
	@touch $@

demo: $(INSTALLED)  ## train, export, prove parity, learn weights, serve and call: all on real digits
	$(BIN)/widedeep demo

test: $(WITH_CLUSTERS)  ## run the suite, without what is large or slow
	$(BIN)/python -m pytest

test-slow: $(WITH_CLUSTERS)  ## run what `make test` leaves out: large nets, the demo, wide sweeps
	$(BIN)/python -m pytest -m slow --timeout 900

test-all: test test-slow  ## run the whole suite

lint: $(WITH_CLUSTERS)  ## check style, format and which folder imports which
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: $(WITH_CLUSTERS) $(TYPES)  ## check types
	$(BIN)/mypy

# mypy finds the two folders here under the names they are installed as.
$(TYPES):
	mkdir -p $@
	ln -s ../../../serving $@/serving
	ln -s ../../../export $@/export

wheel-test: $(INSTALLED)  ## build the wheel and prove that it serves without any extra installed
	rm -rf $(WHEEL)
	$(BIN)/python -m build --outdir $(WHEEL)
	$(BIN)/python tests/wheel/make_bundle.py $(WHEEL)/repository/iris/1
	$(BIN)/python -m venv $(WHEEL)/venv
	$(WHEEL)/venv/bin/python -m pip install --disable-pip-version-check --quiet $(WHEEL)/*.whl pytest
	cp tests/wheel/check_base_install.py $(WHEEL)
	cd $(WHEEL) && venv/bin/python -m pytest -c /dev/null --rootdir . check_base_install.py

# BENCH takes flags: make bench BENCH='--workloads tiny --rounds 3'
bench: $(INSTALLED)  ## measure widedeep against other servers and write docs/benchmarks.md; about 80 minutes
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[bench]'
	$(BIN)/python bench/servers.py $(BENCH)

protos: $(INSTALLED)  ## regenerate serving/protocol from protos/
	$(BIN)/python protos/generate.py

clean:  ## remove what was built, the environment and the demo's output
	rm -rf $(VENV) build dist demo *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
