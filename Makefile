# Every target makes .venv when it is missing and leaves it current when it is not.
PYTHON ?= python3
PROTOC ?= protoc
# The tests' referee for files of PyTorch; a version that is at hand as a CPU build spares gigabytes of CUDA.
TORCH ?= torch==2.13.*
BIN := .venv/bin
# A worker gets half of the tests in a row, so that it makes what they share once, and takes from the other at the end.
# Compiled modules are kept: tests start a hundred processes. pip compiles none, as most are never imported.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal -q
PROTOS := ckpttool/formats/wire/protos

.PHONY: install browser demo site dist test check lint docs docs-check transcript tables reuse few-labels fixtures protos trust attacks lowest bench clean

install: .venv/.current

.venv/.current: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[cpu,dev]' '$(TORCH)'
	touch $@

browser: install  ## the browser of the tests that open a page: Debian's where it can be installed, else playwright's own
	command -v chromium >/dev/null \
		|| { apt-get -qq update && apt-get -qq --yes --no-install-recommends install chromium; } \
		|| $(BIN)/playwright install chromium

# What the demo runs and no more, unless all is there; it needs no pip that is newer, and compiles what it imports.
DEMO := $(if $(wildcard .venv/.current),.venv,.demo)

demo: $(DEMO)/.current  ## what reuse is worth, on the fixtures, ending in a table
	$(DEMO)/bin/python docs/demo.py

.demo/.current: pyproject.toml
	test -x .demo/bin/python || $(PYTHON) -m venv .demo
	.demo/bin/python -m pip install --quiet --no-compile --disable-pip-version-check --editable '.[cpu]'
	touch $@

site: install  ## the documentation, with every warning an error, in site/; python3 -m http.server -d site shows it
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

dist: install  ## sdist and wheel in dist/, for an index: make dist REPOSITORY=https://... [SITE=https://...]
	CKPTTOOL_REPOSITORY="$(REPOSITORY)" CKPTTOOL_SITE="$(SITE)" $(BIN)/python -m hatchling build

test: browser  ## all tests but the slow ones; those of real files need CKPTTOOL_CORPUS
	$(PYTEST) -m 'not slow'

trust: browser  ## slow tests, new examples, the corpus of real files (CKPTTOOL_CORPUS), attacks; FULL=1: all of them, for hours
	test -d "$$CKPTTOOL_CORPUS" || { echo "CKPTTOOL_CORPUS names no folder" >&2; exit 1; }
	HYPOTHESIS_PROFILE=new-examples $(PYTEST) -m 'slow or hypothesis'
	$(PYTEST) tests/corpus -m 'not slow'
	$(if $(FULL),$(BIN)/python benchmarks/architectures.py)
	$(if $(FULL),-$(BIN)/python -m pip install --quiet --editable '.[fuzz]')  # fuzzing is led by coverage then
	$(BIN)/python trust/figures.py $(if $(FULL),--full)
	$(BIN)/python docs/generate.py

attacks: install  ## run the small attacks of docs/attacks and keep what they print
	$(BIN)/python docs/attack_pages.py
	$(BIN)/python docs/generate.py

check: install  ## lint, and all tests but the slow ones, beside one another: tests wait for processes at times
	$(MAKE) --jobs 2 lint test

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install  ## write the generated pages
	$(BIN)/python docs/generate.py

docs-check: install
	$(BIN)/python docs/generate.py --check

transcript: install  ## run the demo and keep what it prints, with the README's picture
	$(BIN)/python docs/demo.py docs/demo.txt
	$(BIN)/python docs/generate.py

tables: install  ## make the chapter's twelve tables again, for docs/chapter11.md: make tables MNIST=path/to/mnist.npz
	test -f "$(MNIST)" || { echo "MNIST=path/to/mnist.npz is needed; fixtures/README.md says where it is" >&2; exit 1; }
	$(BIN)/python benchmarks/chapter11.py "$(MNIST)" docs/chapter11.txt
	$(BIN)/python docs/generate.py

reuse: install  ## make the figures of docs/how-much-to-reuse.md again: make reuse MNIST=path/to/mnist.npz FOLDER=folder
	test -f "$(MNIST)" || { echo "MNIST=path/to/mnist.npz is needed; fixtures/README.md says where it is" >&2; exit 1; }
	$(BIN)/python benchmarks/how_much_to_reuse.py "$(MNIST)" "$(or $(FOLDER),reuse)" --keep
	$(BIN)/python docs/generate.py

few-labels: install  ## make the figures of docs/few-labels.md again: make few-labels MNIST=path/to/mnist.npz [FASHION=path] FOLDER=folder
	test -f "$(MNIST)" || { echo "MNIST=path/to/mnist.npz is needed; fixtures/README.md says where it is" >&2; exit 1; }
	$(BIN)/python benchmarks/few_labels.py "$(MNIST)" "$(or $(FOLDER),few-labels)" $(if $(FASHION),--fashion "$(FASHION)") --keep
	$(BIN)/python docs/generate.py

lowest:  ## the tests with the oldest versions that pyproject.toml allows, in .lowest; Python 3.11 or 3.12
	test -x .lowest/bin/python || $(PYTHON) -m venv .lowest
	.lowest/bin/python -m pip install --quiet --editable . --requirement tests/lowest.txt '$(TORCH)'
	.lowest/bin/python -m pytest -q

fixtures: install  ## make the fixtures again, with plain TensorFlow: make fixtures MNIST=path/to/mnist.npz
	test -f "$(MNIST)" || { echo "MNIST=path/to/mnist.npz is needed; fixtures/README.md says where it is" >&2; exit 1; }
	$(BIN)/python fixtures/make_model.py "$(MNIST)"
	$(BIN)/python fixtures/make_data.py "$(MNIST)"
	$(BIN)/python fixtures/make_digits.py "$(MNIST)"
	$(BIN)/python fixtures/make_bundles.py
	$(BIN)/python fixtures/make_torch.py

# Code of protoc 3.20 to 21.x loads under protobuf 4.21 and every later one; newer ones ask for as new a protobuf.
protos:  ## write the messages' code again after a change of a .proto; PROTOC names the compiler
	$(PROTOC) --version | grep -Eq '^libprotoc (3\.2[01]|21)\.' || { echo "protoc 3.20 to 21.x is needed" >&2; exit 1; }
	$(PROTOC) -I. --python_out=. --pyi_out=. $(PROTOS)/*.proto

bench: install  ## each benchmark prints its ratios to a named peer
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf .venv .demo .lowest build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
