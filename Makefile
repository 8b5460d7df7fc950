# Every target makes .venv when it is missing and leaves it current when it is not.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -n 2 -q

.PHONY: install demo test check lint docs fixtures protos trust bench clean

install: .venv/.current

.venv/.current: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[cpu,dev]'
	touch $@

demo: install  ## the main job on the fixtures, ending in a table
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python docs/demo.py

test: install  ## all tests but the slow proof
	$(PYTEST)

check: install lint docs-check test

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install  ## write the generated pages
	$(BIN)/python docs/generate.py

docs-check: install
	$(BIN)/python docs/generate.py --check

fixtures: install  ## make the fixtures again, with plain TensorFlow
	$(BIN)/python fixtures/make_model.py
	$(BIN)/python fixtures/make_bundles.py

bench: install
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache
