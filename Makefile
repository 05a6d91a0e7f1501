# Everything sets up .venv by itself; a second run pays nothing for it.
PYTHON ?= python3
# whole files, for what they share; by groups would be finer, but pytest-xdist 3.8 loses them under pytest 9
PARALLEL := --numprocesses $(or $(PROCESSES),2) --dist loadfile
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
RUNS := $(VENV)/.runs
TOOLS := $(VENV)/.tools
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check install
COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 --no-annotate --no-header --quiet
export PATH := $(BIN):$(PATH)

.PHONY: setup demo test test-slow test-long golden check docs mutants bench bench-gpu lock clean

setup: $(RUNS)

# retinaface-pytorch comes without what it asks for: none of it is imported here (pyproject.toml, [tool.uv])
$(RUNS): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Perennial needs Python 3.11 or newer, found " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	grep -v '^retinaface-pytorch' requirements.lock | $(PIP) --requirement /dev/stdin
	$(PIP) --no-deps $$(grep '^retinaface-pytorch' requirements.lock)
	$(PIP) --no-deps --editable .
	@touch $(RUNS)

$(TOOLS): $(RUNS) tests/requirements.lock
	$(PIP) --requirement tests/requirements.lock
	@touch $(TOOLS)

demo: $(RUNS)
	perennial demo

test: $(TOOLS)
	pytest -m "not slow and not long and not gpu" $(PARALLEL)

test-slow: $(TOOLS)
	pytest -m "slow and not long" --timeout=1800 $(PARALLEL)

test-long: $(TOOLS) # longer than .ci/run has time for
	pytest -m long --timeout=14400 --capture=no

golden: $(TOOLS)
	pytest tests/golden

check: $(TOOLS) $(if $(wildcard infra/mkdocs.yml),docs)
	ruff check .
	ruff format --check .
	lint-imports
	mypy

docs: $(TOOLS) # every page and link of docs/, as a site in .perennial/site
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --config-file infra/mkdocs.yml --site-dir $(CURDIR)/.perennial/site

mutants: $(TOOLS)
	python tests/mutants.py

bench: $(RUNS) # ratios, into benchmarks/RESULTS.md: a quarter of an hour; BENCH="--only loop", "--long", "--peers PYTHON"
	python -m benchmarks $(BENCH)

bench-gpu: # the accelerator's part, five minutes; needs the checkout and installed packages, so nothing is set up here
	$(or $(wildcard $(BIN)/python),$(PYTHON)) -m benchmarks.gpu --out benchmarks/gpu.md $(BENCH)

lock: $(TOOLS) # names and versions for every platform, those of the present locks where they fit; torch pins its CUDA libraries itself
	$(COMPILE) --constraint requirements.lock --output-file .runs.new
	$(COMPILE) --constraint requirements.lock --constraint tests/requirements.lock --group dev --output-file .tools.new
	for file in .runs.new .tools.new; do \
		grep -vE '^(nvidia-|cuda-|triton|opencv-python=)' $$file | sed -E 's/^(torch==[0-9.]+).*/\1/' | awk '!seen[$$0]++' > $$file.kept; done
	mv .runs.new.kept requirements.lock
	grep -vxFf requirements.lock .tools.new.kept > tests/requirements.lock
	rm -f .runs.new .tools.new .tools.new.kept

clean:
	rm -rf .perennial .mypy_cache .ruff_cache .pytest_cache
