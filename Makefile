# Every command that a newcomer needs. Each one makes .venv first where that is missing or older than the requirements;
# nothing but make and a Python of 3.11 to 3.14 has to be there. `make PYTHON=python3.14 ...` chooses the Python.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

VENV := .venv
STAMP := $(VENV)/.complete
RUN := $(VENV)/bin/python -m
SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PYTHON = $(shell for candidate in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$candidate -c '$(SUITABLE)' 2>/dev/null && echo $$candidate && break; done)
STAGE ?= prod
LOCK := $(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --no-annotate --no-header pyproject.toml

.PHONY: help demo test check up down key dlq redrive bench deploy lock

help:  ## Show this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "  make %-8s %s\n", $$1, $$2}'

demo: up  ## Run one real workflow on the local stack and show it live
	@$(RUN) examples.demo

test: $(STAMP)  ## Run all tests; they bring up what they need and take it down again
	@$(RUN) pytest -n 2 --dist loadgroup

check: $(STAMP)  ## Format, lint, types, layers, templates: the gate before a merge
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(RUN) mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/cfn-lint infra/template.yaml
	$(RUN) pytest -q tests/infra/test_app_template.py

up: $(STAMP)  ## Start the local stack, or bring it up to date with the checkout
	@$(RUN) infra.local.up

down: $(STAMP)  ## Stop the local stack; what it holds is kept
	@$(RUN) infra.local.down

key: $(STAMP)  ## Create an API key: make key ORG=acme USER=ann SCOPES="workflows:read"
	@$(RUN) infra.key --org "$${ORG:?is missing: make key ORG=acme USER=ann SCOPES=*}" --user "$${USER:?is missing}" --scopes "$${SCOPES:?is missing}"

dlq redrive: STAGE = local

dlq: $(STAMP)  ## List messages that start no run, and why: make dlq STAGE=prod
	@$(RUN) infra.dead_letters --stage "$(STAGE)" list

redrive: $(STAMP)  ## Send them again: make redrive STAGE=prod
	@$(RUN) infra.dead_letters --stage "$(STAGE)" redrive

bench: $(STAMP)  ## Run the benchmarks; writes bench/results/latest.json
	@$(RUN) bench

deploy: $(STAMP)  ## Deploy to an AWS account: make deploy STAGE=prod
	@$(RUN) infra.deploy --stage "$(STAGE)"

lock: $(STAMP)  ## Write requirements*.txt anew from pyproject.toml
	$(LOCK) -o requirements.txt
	$(LOCK) --group pod -o requirements-pod.txt
	$(LOCK) --group pod --group dev -o requirements-dev.txt

$(STAMP): requirements.txt requirements-dev.txt
	@"$(PYTHON)" -c '$(SUITABLE)' 2>/dev/null || { \
		echo "Millrace needs Python 3.11, 3.12, 3.13 or 3.14; $(or $(PYTHON),python3) is: $$($(or $(PYTHON),python3) --version 2>&1)" >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python3.13 ..." >&2; exit 1; }
	@echo "installing the pinned requirements into $(VENV) ($$($(PYTHON) --version))"
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	@touch $@
