# `make demo` and `make test` work on a fresh machine with Python >= 3.11 and make; they install everything else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CUDA_VENV ?= .venv-cuda
CUDA_TORCH := 2.14.1
EXTRAS := dev,docs,ann,cloud,dask,famsa,fast,iqtree,map,molecules,network,plm,tensorboard,trees,wandb

.PHONY: demo test slow fuzz matrix fake-cuda lint types imports docs check clean

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("phylocli needs Python 3.11 or newer, this is %d.%d; say make PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

demo: $(STAMP)  ## the whole pipeline on real families, offline
	$(BIN)/phylocli run examples/demo.toml -o demo

test: $(STAMP)  ## the test suite, offline
	$(BIN)/python -m pytest -n auto

slow: $(STAMP)  ## slow tests (minutes)
	$(BIN)/python -m pytest -m slow -o faulthandler_timeout=0

fuzz: $(STAMP)  ## property tests on random examples, ten rounds; FUZZ_ROUNDS=100 for more
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest -n auto -m 'hypothesis and not slow and not gpu and not fake_cuda'

matrix: $(STAMP)  ## the test suite under other settings (threads, instruction sets, order); MATRIX='--times 5 avx2 random' for a choice
	$(BIN)/python tests/matrix.py $(MATRIX)

fake-cuda: pyproject.toml  ## the CUDA path on tensors without values: a CUDA build of torch (6 GB), no GPU
	test -x $(CUDA_VENV)/bin/pytest || { $(PYTHON) -m venv $(CUDA_VENV) && \
	$(CUDA_VENV)/bin/python -m pip install --quiet --disable-pip-version-check torch==$(CUDA_TORCH) -e '.[dev,plm]'; }
	$(CUDA_VENV)/bin/python -m pytest -m fake_cuda tests/train/test_devices.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## type checks: the package by mypy, the public API by mypy and pyright
	$(BIN)/mypy
	$(BIN)/mypy tests/public_api.py
	$(BIN)/pyright --pythonpath $(BIN)/python

imports: $(STAMP)
	$(BIN)/lint-imports --no-cache

docs: $(STAMP)  ## the documentation site in build/site; warnings are errors
	$(BIN)/python docs/make_reference.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict -f .mkdocs.yml

check: lint types imports docs test

clean:
	rm -rf $(VENV) demo build dist *.egg-info
