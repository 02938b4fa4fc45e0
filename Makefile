# Every target makes its own virtual environment in .venv when it needs one.
PYTHON ?= python3
BIN := .venv/bin
RUN := .venv/.ready-to-run
DEV := .venv/.ready-to-develop
# Wheels with real models in them, which the tests of `scan` read and nobody installs.
WHEELS := .venv/share/wheels
REAL := $(WHEELS)/.fetched
FRAMEWORKS := .venv-frameworks/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test test-frameworks lint types docs bench bench-scale bench-beyond clean

help:
	@echo 'make demo         grow a small family of real models, ask it, select, and draw its tree'
	@echo 'make test         run the tests'
	@echo 'make test-frameworks  the adapters, with torch, in an environment of their own (minutes)'
	@echo 'make lint         ruff over everything'
	@echo 'make types        mypy, strict, on lineage/'
	@echo 'make docs         build the guide in site/'
	@echo 'make bench        measure against the figures to reach (minutes)'
	@echo 'make bench-scale  the figures at two million organisms (longer)'
	@echo 'make bench-beyond  questions at 22 million organisms: 22 GB of TMPDIR, an hour or more'
	@echo 'make clean        remove builds, caches and the demo; .venv stays'

demo: $(RUN)
	@$(BIN)/lineage demo

test: $(DEV) $(REAL)
	@$(BIN)/python -m pytest

test-frameworks: $(FRAMEWORKS)
	@.venv-frameworks/bin/python -m pytest tests/frameworks

lint: $(DEV)
	@$(BIN)/ruff check .

types: $(DEV)
	@$(BIN)/mypy

docs: $(DEV)
	@$(BIN)/python -m mkdocs build --strict --quiet
	@echo 'The guide: site/index.html'

bench: $(DEV)
	@$(BIN)/python -m bench

bench-scale: $(DEV)
	@$(BIN)/python -m bench --scale

bench-beyond: $(DEV)
	@$(BIN)/python -m bench --only growth --grow 2200000 22000000

clean:
	@rm -rf build dist site *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache demo-family
	@find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'lineage needs Python 3.11 or later: make PYTHON=/path/to/python3.11'; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo 'This Python has no venv module. On Debian and Ubuntu: apt install python3-venv'; exit 1; }
	@$(PYTHON) -m venv .venv

$(RUN): setup.cfg pyproject.toml | $(BIN)/python
	@echo 'Installing lineage in .venv: half a minute, once.'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable .
	@touch $@

$(DEV): setup.cfg pyproject.toml | $(BIN)/python
	@echo 'Installing lineage and its development tools in .venv: a minute, once.'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[test,dev,docs]'
	@touch $(RUN) $@

$(REAL): | $(BIN)/python
	@echo 'Fetching two wheels with real models in them: 22 MB, once.'
	@$(BIN)/python -m pip download -qq --disable-pip-version-check --no-deps --only-binary :all: \
	  --dest $(WHEELS) text2tashkeel==0.1.0 silero-vad==6.2.3 && touch $@ || \
	  echo 'Not fetched: the tests that read them are skipped.'

# torch first: else the others bring the build for GPUs, of gigabytes
$(FRAMEWORKS): setup.cfg pyproject.toml | $(BIN)/python
	@echo 'Installing torch and the frameworks in .venv-frameworks: two minutes, once.'
	@$(BIN)/python -m venv .venv-frameworks
	@.venv-frameworks/bin/python -m pip install -qq --disable-pip-version-check torch==2.13.0
	@.venv-frameworks/bin/python -m pip install -qq --disable-pip-version-check \
	  transformers peft accelerate lightning mlflow-skinny pytest --editable .
	@touch $@
