# Two commands for a new user, `make demo` and `make test`; `make help` lists all.
# Needs GNU make and Python 3.11 or newer: `make demo PYTHON=python3.12` picks another interpreter.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Ray, Spark and what deployment is tested with take a gigabyte, which the demo does without.
WITH_ALL := $(VENV)/.with-all
TYPES := build/types/widedeep
WHEEL := build/wheel
# What the image has beside the base install.
LOCKED := --extra native --extra s3 --extra oci --extra tracing
LOCK := $(BIN)/uv --no-config --quiet pip compile --universal --python-version 3.11 --generate-hashes --upgrade \
  --custom-compile-command 'make lock' --output-file deploy/image/requirements

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test test-slow test-all lint types wheel-test release-check bounds-test image-test lock docs docs-serve bench protos clean

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

$(WITH_ALL): $(INSTALLED)
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[export,train,batch,ray,spark,s3,oci,docs,deploy,test]'
	@touch $@

demo: $(INSTALLED)  ## train, export, prove parity, learn weights, serve and call: all on real digits
	$(BIN)/widedeep demo

test: $(WITH_ALL)  ## run the suite, without what is large or slow
	$(BIN)/python -m pytest

test-slow: $(WITH_ALL)  ## run what `make test` leaves out: large nets, the demo, wide sweeps
	$(BIN)/python -m pytest -m slow --timeout 900

test-all: test test-slow  ## run the whole suite

lint: $(WITH_ALL)  ## check style, format and which folder imports which
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: $(WITH_ALL) $(TYPES)  ## check types
	$(BIN)/mypy

# mypy finds the two folders here under the names they are installed as.
$(TYPES):
	mkdir -p $@
	ln -s ../../../serving $@/serving
	ln -s ../../../export $@/export

wheel-test: $(INSTALLED)  ## build sdist and wheel and prove that they are whole and serve without any extra
	rm -rf $(WHEEL)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet 'twine>=6.1'
	$(BIN)/python -m build --outdir $(WHEEL)
	$(BIN)/python -m twine check --strict $(WHEEL)/*.whl $(WHEEL)/*.tar.gz
	$(BIN)/python tests/wheel/make_bundle.py $(WHEEL)/repository/iris/1
	$(BIN)/python -m venv $(WHEEL)/venv
	$(WHEEL)/venv/bin/python -m pip install --disable-pip-version-check --quiet $(WHEEL)/*.whl pytest
	cp tests/wheel/check_*.py $(WHEEL)
	cd $(WHEEL) && $(CURDIR)/$(BIN)/python -m pytest -q -c /dev/null --rootdir . check_archives.py
	$(BIN)/python -m venv $(WHEEL)/venv-of-sdist
	$(WHEEL)/venv-of-sdist/bin/python -m pip install --disable-pip-version-check --quiet $(WHEEL)/*.tar.gz
	$(WHEEL)/venv-of-sdist/bin/widedeep verify $(WHEEL)/repository/iris/1
	cd $(WHEEL) && venv/bin/python -m pytest -c /dev/null --rootdir . check_base_install.py

release-check: wheel-test  ## prove that what lies in build/wheel may be released: versions agree, the changelog tells of it
	$(BIN)/python -m pytest -q tests/release
	$(BIN)/python tests/wheel/check_changelog.py

# BOUNDS takes flags: make bounds-test BOUNDS='lowest --python 3.13'
bounds-test: $(INSTALLED)  ## run serving's tests with the oldest and the newest dependencies that are allowed; 15 minutes
	$(BIN)/python -m pip install --disable-pip-version-check --quiet 'uv>=0.8'
	$(BIN)/python tests/bounds/run.py $(BOUNDS)

image-test: $(WITH_ALL)  ## build the container image without Docker and try it; needs root, buildah and mmdebstrap
	$(BIN)/python -m pytest -m 'slow or not slow' tests/deploy/test_image.py tests/deploy/test_image_locks.py

lock: $(INSTALLED)  ## lock what the container image is made of to its newest releases
	$(BIN)/python -m pip install --disable-pip-version-check --quiet 'uv>=0.8'
	$(LOCK)-cpu.txt pyproject.toml $(LOCKED)
	$(LOCK)-gpu.txt pyproject.toml $(LOCKED) deploy/image/gpu.in --no-emit-package onnxruntime
	$(LOCK)-build.txt deploy/image/build.in

docs: $(WITH_ALL) $(TYPES)  ## build the documentation site into build/site; any warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: docs  ## show the site at http://localhost:8000 while it is edited
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

# BENCH takes flags: make bench BENCH='--workloads tiny --rounds 3'
bench: $(INSTALLED)  ## measure widedeep against other servers and write docs/benchmarks.md; about 80 minutes
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[bench]'
	$(BIN)/python bench/servers.py $(BENCH)

protos: $(INSTALLED)  ## regenerate serving/protocol from protos/
	$(BIN)/python protos/generate.py

clean:  ## remove what was built, the environment and the demo's output
	rm -rf $(VENV) build dist demo *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
