# make run: the main job on an example. make test: everything a change must pass. Both need Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test setup check types contracts unit docs bench peers torture clean

run: $(VENV)/.installed
	$(BIN)/python examples/permit.py

test: setup check types contracts docs unit

setup: $(VENV)/.ready

$(VENV)/.installed: pyproject.toml
	@echo "Installing bide and what it needs into $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.ready: $(VENV)/.installed
	@echo "Installing the tools for working on bide (once) ..."
	@$(BIN)/python -m pip install --quiet --editable '.[all]' --group dev --group docs
	@touch $@

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy
	$(BIN)/basedpyright

contracts: setup
	$(BIN)/lint-imports

# The suite runs on the built wheel, installed into an environment of its own: what is not packaged is not found.
unit: setup
	rm -rf dist build/wheel-venv
	$(BIN)/python -m build --wheel --outdir dist > /dev/null
	$(PYTHON) -m venv build/wheel-venv
	build/wheel-venv/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	build/wheel-venv/bin/python -m pip install --quiet "$$(ls dist/*.whl)[all]" --group dev
	build/wheel-venv/bin/python -m pytest

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --site-dir build/site

bench: setup
	$(BIN)/python -m bench

# The same workloads on other engines, each installed into build/peers at the first run.
peers: setup
	$(BIN)/python -m bench.peers

# Kills a hub again and again, and checks what is left; docs/guarantees.md says more. MINUTES=30 for longer.
MINUTES ?= 5
torture: setup
	$(BIN)/python -m bench.torture --minutes $(MINUTES)

clean:
	rm -rf $(VENV) dist build
