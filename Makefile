# beowulf: two commands are all a newcomer types: `make demo` and `make test`.
#
# Everything is installed into .venv beside this file, from constraints.txt.
# PYTHON=python3.12 chooses another interpreter, TORCH=no leaves PyTorch out.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
TORCH ?= yes
INPUTS := pyproject.toml constraints.txt

# The first Python that is new enough and can make virtual environments.
FIND_PYTHON = for name in python3 python3.13 python3.12 python3.11; do \
	if "$$name" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null; then echo "$$name"; break; fi; done
PYTHON ?= $(shell $(FIND_PYTHON))

INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test check bench docs install clean

help: ## Show what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/demo-ready ## Set everything up and train the digits here, on 2 ranks
	@$(BIN)/beowulf submit jobs/digits/job.toml

test: check ## Set everything up and run every test this machine can run
	@$(BIN)/python -m pytest

check: install ## Check style, types and the generated documentation
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python docs/generate_cli.py --check

bench: install ## Measure what docs/benchmarks.md shows
	@$(BIN)/python -m bench

docs: install ## Write the generated documentation again
	@$(BIN)/python docs/generate_cli.py

install: $(VENV)/test-ready $(if $(filter no,$(TORCH)),,$(VENV)/torch-ready) ## Install what the tests need

clean: ## Remove what was installed here; jobs and their files stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "beowulf needs Python 3.11 or newer with venv; on Debian: apt install python3-venv" >&2; \
		exit 2; fi
	@echo "making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/demo-ready: $(INPUTS) | $(BIN)/python
	@echo "installing beowulf and what its example jobs need (a minute or two, once)"
	@$(INSTALL) --editable '.[local,jobs]'
	@touch $@

$(VENV)/test-ready: $(VENV)/demo-ready
	@echo "installing what the tests need"
	@$(INSTALL) --editable '.[local,jobs,dev]'
	@touch $@

$(VENV)/torch-ready: $(VENV)/test-ready
	@echo "installing PyTorch (some hundred MB; TORCH=no leaves it out)"
	@$(INSTALL) --editable '.[local,jobs,dev,torch]'
	@touch $@
