# The two commands a newcomer needs are `make demo` and `make test`; each sets the machine up first.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON := .venv/bin/python
export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/node_modules/.bin:$(PATH)
export PYTHONPATH := $(CURDIR)
export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION := 1
READY := .venv/.ready node_modules/.ready

.PHONY: help setup demo test properties lint local-up local-env local-down model-card datasets prices docs security bench bench-controller gpu-check chaos clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## install everything into this folder (.venv, node_modules)

.venv/.ready: requirements.lock instance/requirements.lock scripts/setup.sh
	@scripts/setup.sh python

node_modules/.ready: package-lock.json scripts/setup.sh
	@scripts/setup.sh node

demo: $(READY) ## run one training run on real data, on an embedded cloud, and show what it gave
	@$(PYTHON) -m scripts.demo

test: $(READY) ## lint, types, and every test that runs without AWS and a GPU
	@scripts/test.sh

properties: $(READY) ## the properties alone, on generated input; their number is printed (LONG=1 for 20 times as much)
	@pytest -q -n 2 tests/properties $(if $(LONG),--hypothesis-profile=long)

lint: $(READY) ## ruff and mypy
	@ruff check --quiet . && ruff format --check --quiet . && mypy --no-error-summary && echo "lint and types: clean"

security: $(READY) ## checkov on the template, known weaknesses of the locked packages (installs its tools first)
	@$(PYTHON) -m scripts.security

local-up: $(READY) ## start the embedded cloud, deploy the stack, leave it running
	@$(PYTHON) -m local up

local-env: ## print the export lines for: eval "$$(make -s local-env)"
	@$(PYTHON) -m local env

local-down: ## end the embedded cloud and every process it started
	@$(PYTHON) -m local down

datasets: $(READY) ## convert the demo data sets into build/datasets
	@$(PYTHON) -m scripts.make_datasets

bench: $(READY) ## measure the promised ratios beside their alternatives (about half an hour; ONLY=pipeline for one)
	@$(PYTHON) -m benchmarks.suite $(ONLY)

chaos: $(READY) ## run the fault matrix (CASES=20 a sample, ONLY=text, AGAIN=1; PAIRS=200 pairs of faults, SOAK=50 runs at once)
	@$(PYTHON) -m chaos --cases $(or $(CASES),0) --only '$(ONLY)' --pairs $(or $(PAIRS),0) --soak $(or $(SOAK),0) $(if $(AGAIN),--again)

bench-controller: $(READY) ## measure the controller: bundle, imports, transitions, seconds to the end of the machine
	@$(PYTHON) -m benchmarks.controller

gpu-check: $(READY) ## measure Chronos on this machine's GPU, and compare it with the CPU
	@$(PYTHON) -m benchmarks.gpu_check

model-card: $(READY) ## measure the bundled Chronos weights again and write their card
	@$(PYTHON) -m benchmarks.model_card --write

prices: $(READY) ## take the prices of a region from AWS into contracts/prices.json (REGION=eu-west-1; needs an account)
	@$(PYTHON) -m scripts.refresh_prices $(if $(REGION),--region $(REGION))

docs: $(READY) ## write the generated pages of docs/
	@$(PYTHON) -m scripts.generate_docs

clean: ## remove what the targets made, except the embedded cloud's state
	@rm -rf build cdk.out .venv node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .venv-autogluon .venv-security
