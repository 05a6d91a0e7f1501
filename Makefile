# Everything sets up .venv by itself; a second run pays nothing for it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup demo test test-slow golden check lock clean

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Perennial needs Python 3.11 or newer, found " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY)
	perennial demo

test: $(READY)
	pytest -m "not slow and not gpu"

test-slow: $(READY)
	pytest -m slow --timeout=1800

golden: $(READY)
	pytest tests/golden

check: $(READY)
	ruff check .
	ruff format --check .
	lint-imports
	mypy

lock: $(READY) # names and versions for every platform; the CUDA libraries are pinned by torch itself
	echo "torch==2.13.0" > .torch-tested-with
	uv pip compile pyproject.toml --extra dev --constraint .torch-tested-with --universal --python-version 3.11 \
		--no-annotate --no-header --quiet --output-file requirements.new
	grep -vE '^(nvidia-|cuda-|triton)' requirements.new | sed -E 's/^(torch==[0-9.]+).*/\1/' | awk '!seen[$$0]++' > requirements.lock
	rm -f requirements.new .torch-tested-with

clean:
	rm -rf .perennial .mypy_cache .ruff_cache .pytest_cache
