# Siltstone. `make help` lists the verbs; the two that a newcomer needs are `make demo` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
STAGE ?= dev
RECEIPTS ?=
TEXTS ?=
EMBEDDINGS ?= local
JOBS ?= 2

VENV := .venv
RUN := $(VENV)/bin/python
TOOLS := $(VENV)/.ready
EMULATOR := .venv-ministack/.ready
VALIDATORS := tests/statemachines/validators/node_modules/.ready
PIP := pip install -qq --disable-pip-version-check

.PHONY: help setup bench model demo up down test lint format types imports unit e2e faults synth lock clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  make demo RECEIPTS=folder-or.jsonl TEXTS=file.jsonl   your own data"
	@echo "  make synth STAGE=dev|staging|prod                     the CloudFormation template of a stage"

setup: $(TOOLS) $(EMULATOR) ## install everything that the other verbs need (they do it themselves)

demo: setup ## receipts in, answers out: the whole product on this machine, offline
	@$(RUN) -m siltstone_local.demo --embeddings "$(EMBEDDINGS)" \
	  $(if $(RECEIPTS),--receipts "$(RECEIPTS)") $(if $(TEXTS),--texts "$(TEXTS)")

up: setup ## start the local stack and leave it running, its state on disk
	@$(RUN) -m siltstone_local.stack up

down: setup ## stop the local stack; its state stays
	@$(RUN) -m siltstone_local.stack down

test: setup lint types imports unit e2e ## everything that is checked before a change lands

lint: $(TOOLS) ## ruff: rules and format
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check --quiet .

format: $(TOOLS) ## ruff: mend what can be mended
	@$(VENV)/bin/ruff check --fix --quiet . || true
	@$(VENV)/bin/ruff format .

types: $(TOOLS) ## pyright, strict
	@$(VENV)/bin/pyright

imports: $(TOOLS) ## import-linter: who may know whom
	@$(VENV)/bin/lint-imports

unit: setup $(VALIDATORS) ## tests that need no emulated AWS
	@$(RUN) -m pytest -n $(JOBS) --dist loadfile -m "not e2e and not faults"

e2e: setup $(VALIDATORS) ## tests over the deployed template on the emulated AWS
	@$(RUN) -m pytest -n $(JOBS) --dist loadfile -m e2e

faults: setup ## kill every state before and after everything that it changes (one to two hours)
	@$(RUN) -m pytest -m faults tests/faults
	@$(RUN) -m tests.faults.simulate --steps 1000000
	@$(RUN) -m tests.faults.fuzz --seconds 600

model: ## the protocol's model, checked exhaustively by spin (Debian: apt-get install spin)
	@$(PYTHON) docs/model/check.py

bench: setup ## time and memory of the main job; RECEIPTS=... for your own
	@$(RUN) -m benchmarks.main_job $(if $(RECEIPTS),--receipts "$(RECEIPTS)")

synth: $(TOOLS) ## the CloudFormation template of STAGE, into cdk.out
	@$(RUN) -m siltstone_local.synth --stage "$(STAGE)"

lock: $(TOOLS) ## resolve the pinned and hashed dependencies anew
	@$(VENV)/bin/pip-compile --quiet --all-extras --allow-unsafe --generate-hashes --strip-extras \
	  --no-emit-index-url --no-emit-find-links --no-header --output-file requirements.txt pyproject.toml
	@$(VENV)/bin/pip-compile --quiet --allow-unsafe --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header --output-file local/ministack.txt local/ministack.in
	@$(VENV)/bin/pip-compile --quiet --allow-unsafe --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header --output-file functions/requirements.txt functions/requirements.in

clean: ## remove what the verbs made, the local stack's state included
	@rm -rf .siltstone cdk.out .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(TOOLS): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; say which with PYTHON=python3.12"; exit 1; }
	@echo "Installing the tools into $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/$(PIP) --require-hashes -r requirements.txt
	@$(VENV)/bin/$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(EMULATOR): local/ministack.txt
	@echo "Installing the emulated AWS into .venv-ministack (once) ..."
	@$(PYTHON) -m venv .venv-ministack
	@.venv-ministack/bin/$(PIP) --require-hashes -r local/ministack.txt
	@touch $@

$(VALIDATORS): tests/statemachines/validators/package-lock.json $(TOOLS)
	@echo "Installing the validators of the state machines (once) ..."
	@$(RUN) -m siltstone_local.node npm ci --prefix $(dir $<) --silent --no-audit --no-fund
	@touch $@
