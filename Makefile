# Everything here works from a fresh clone: it needs Python 3.11 with venv, and Node with npm for
# the targets that start anvil. Nothing is installed outside .venv and node_modules.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/node_modules/.bin:$(PATH)
# The packages of .venv and no others.
unexport PYTHONPATH PYTHONHOME

SAMPLE := farthing/replay/sample.log.gz
PIP_INSTALL := .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Test processes at a time. More do not help: every one compiles the contracts for itself.
JOBS ?= 2

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: demo
demo: .venv/with-tester ## Replay the sample log on the in-process chain and prove the books
	@.venv/bin/farthing replay $(SAMPLE)

.PHONY: test
test: lint node_modules/.stamp ## Lint, type-check, and run all tests
	@.venv/bin/python -m pytest -n $(JOBS) --dist loadscope

.PHONY: lint
lint: .venv/with-dev ## Ruff, its formatter, and mypy
	@ruff check .
	@ruff format --check .
	@mypy --strict

.PHONY: bench-gas
bench-gas: .venv/with-dev node_modules/.stamp ## Measure the gas of every step on anvil
	@.venv/bin/python -m bench.gas
	@.venv/bin/python -m bench.gas_table

.PHONY: bench-verify
bench-verify: .venv/with-dev ## Measure verifying and signing a voucher, beside the x402 package
	@.venv/bin/python -m bench.verify

.PHONY: bench-paywall
bench-paywall: .venv/with-dev ## Measure paid requests a second, beside the x402 package
	@.venv/bin/python -m bench.paywall

.PHONY: bench-redeem
bench-redeem: .venv/with-dev node_modules/.stamp ## Measure the redeemer, the queue and the watcher
	@.venv/bin/python -m bench.redeem

.PHONY: bench-wallet
bench-wallet: .venv/with-dev node_modules/.stamp ## Measure what paying costs a client, bursts, and a paid feed
	@.venv/bin/python -m bench.wallet

.PHONY: reference
reference: .venv/with-dev ## Write the configuration reference into docs/operations.md
	@.venv/bin/python -m farthing.operations.reference docs/operations.md

.PHONY: artifacts
artifacts: .venv/with-dev ## Compile the contracts into the package's artifacts
	@ape run package

.PHONY: mutate
mutate: .venv/with-dev ## Mutate the contract and list the mutants no test kills
	@.venv/bin/python tests/mutation/run.py

.PHONY: fuzz-signatures
fuzz-signatures: .venv/with-dev ## Python's accept rule against the contract, 100,000 signatures
	@FUZZ_SIGNATURES=100000 .venv/bin/python -m pytest --timeout 0 tests/contracts/test_accept_rule.py

.PHONY: fuzz-headers
fuzz-headers: .venv/with-dev node_modules/.stamp ## The paywall against 1,000,000 payment headers, and 125,000 with a chain
	@FUZZ_HEADERS=1000000 .venv/bin/python -m pytest --timeout 0 -rP \
	  tests/paywall/test_header_fuzz.py tests/paywall/test_chain_header_fuzz.py

.PHONY: test-crash
test-crash: .venv/with-dev node_modules/.stamp ## Kill servers, queues and redeemers 1,400 times in all, and compare the books
	@.venv/bin/python -m pytest tests/crash
	@.venv/bin/python -m tests.crash
	@REDEEMER_KILLS=200 .venv/bin/python -m pytest --timeout 0 tests/redeemer/test_redeemer_kills.py
	@.venv/bin/python -m tests.crash.queue_kills

.PHONY: test-soak
test-soak: .venv/with-dev node_modules/.stamp ## Half an hour of payments, withdrawals, faults and restarts
	@.venv/bin/python -m tests.soak

.PHONY: examples
examples: .venv/with-dev node_modules/.stamp ## Run every example, one line each
	@.venv/bin/python -m examples

.PHONY: bad-batch
bad-batch: .venv/with-tester ## One redemption with every kind of bad row, and its books
	@.venv/bin/python -m examples.bad_batch

.PHONY: clean
clean: ## Remove what the targets installed and what tools left behind
	rm -rf .venv node_modules .build .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ------------------------------------------------------------------ installation
# A stamp is younger than what it was installed from, so a second run installs nothing.

.venv/bin/python:
	@for python in python3.11 python3 python; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then \
	    echo "Creating .venv with $$python ..." >&2; \
	    exec "$$python" -m venv .venv; \
	  fi; \
	done; \
	echo "Python 3.11 was not found: install it so that python3.11 or python3 runs it." >&2; exit 1

.venv/with-tester: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing the package and the in-process chain ..." >&2
	@$(PIP_INSTALL) -e '.[tester]'
	@touch $@

.venv/with-dev: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing the package and its development tools ..." >&2
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $@ .venv/with-tester

# Not `npm ci`: that refuses a lock file made where anvil's other platforms were out of reach.
# `npm install --no-save` takes the locked versions and leaves the lock file alone.
node_modules/.stamp: package.json package-lock.json
	@command -v npm >/dev/null || { echo "npm was not found: install Node, it brings anvil." >&2; exit 1; }
	@echo "Installing anvil and x402's JavaScript packages ..." >&2
	@npm install --no-save --silent --no-audit --no-fund
	@touch $@
