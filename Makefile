# The verbs of this house. Each makes the checkout ready first (.venv, system tools, etcd and
# toxiproxy), says what it does, and may be repeated at any time.

VENV := .venv/bin
ISTHMUS := $(VENV)/isthmus

.DEFAULT_GOAL := help
.PHONY: help ready demo test check bench conformance-3.6 chaos lab-up lab-down doctor clean
MAKEFLAGS += --no-print-directory

help: ## show this list
	@echo "Isthmus: a carrier on one machine. Two commands: make demo, make test"
	@sed -n 's/^\([a-z0-9.-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18
	@echo "  SABOTAGE=... KEEP=1 RECORD=file.json (demo); STAGES='pure attacks' (test)"

ready: ## make .venv, system tools, etcd and toxiproxy ready
	@deploy/scripts/bootstrap

demo: ready ## a carrier: sites, a partner, chains, real packets, a cut, a recovery
	@echo "make demo: running the carrier; progress follows, the verdict is the last line"
	@$(ISTHMUS) demo $(if $(SABOTAGE),--sabotage $(SABOTAGE)) $(if $(KEEP),--keep) \
		$(if $(RECORD),--record $(RECORD))

test: ready ## every test, in stages, each in a private world
	@echo "make test: stages pure, integration, packets, attacks, chaos (short), bench (short)"
	@$(VENV)/python deploy/scripts/stages.py $(STAGES)

check: ready ## format, lint, types, import layers
	@code=0; for tool in "ruff format --check ." "ruff check ." "mypy" "lint-imports"; do \
		echo "make check: $$tool"; $(VENV)/$$tool || code=1; done; \
		[ $$code -eq 0 ] && echo "make check: OK" || { echo "make check: FAILED"; exit 1; }

bench: ready ## measure: instantiate, heal, install (BENCH=name for another)
	@echo "make bench: measuring; results are printed as tables"
	@for name in $(if $(BENCH),$(BENCH),instantiate heal install); do $(ISTHMUS) bench $$name || exit 1; done

conformance-3.6: ready ## the store's whole suite against etcd 3.6 (built once)
	@echo "make conformance-3.6: tests/integration/kv on the other supported line of etcd"
	@ISTHMUS_BIN_DIR=$$($(VENV)/python -m isthmus.deploy.build 3.6) && export ISTHMUS_BIN_DIR && \
		$(VENV)/python -m isthmus.deploy.world -- $(CURDIR)/$(VENV)/python -m pytest -q tests/integration/kv

chaos: ready ## about twenty minutes: slow chaos tests, deaths, then all faults on real processes (SEED=n)
	@echo "make chaos: the slow chaos tests (5 min), deaths (10 min), all faults (5 min); a broken promise names its seed"
	@$(VENV)/python -m isthmus.deploy.world -- $(CURDIR)/$(VENV)/python -m pytest -q tests/chaos -m slow
	@$(ISTHMUS) prove --only kills --minutes 10 $(if $(SEED),--seed $(SEED))
	@$(ISTHMUS) prove --minutes 5 $(if $(SEED),--seed $(SEED))

simulate: ready ## seeded runs in virtual time (SEEDS=1-1000 WORLD=links)
	@$(ISTHMUS) simulate --seeds $(or $(SEEDS),1-1000) --world $(or $(WORLD),links) --stats

lab-up: ready ## start a lab and leave it running
	@echo "make lab-up: starting the lab"
	@$(ISTHMUS) lab up

lab-down: ready ## end the lab, leaving nothing behind
	@echo "make lab-down: ending the lab"
	@$(ISTHMUS) lab down

doctor: ready ## what this machine has, lacks, and how to get it
	@$(ISTHMUS) doctor

clean: ## remove what was generated here (.venv, caches); programs built for all checkouts stay
	@echo "make clean: removing .venv and caches"
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
