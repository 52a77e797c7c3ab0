# psapwatch. `make run` and `make test` set up whatever is missing first; set-up is quick when done.
BIN := .venv/bin
PYTEST := $(BIN)/pytest
SEEDS ?= 200
SCENARIO_SEEDS ?= 200
CI_SEEDS ?= 10
FUZZ_EXAMPLES ?= 20000
DIALOGS ?= 10000

.DEFAULT_GOAL := help
.PHONY: help setup packages run test check format lint types seeds dialogs fuzz left-behind round-trips pace bench bench-judging presses golden confusion examples rules dashboards install image pictures clean

help:  ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready  ## the virtual environment, pinned by constraints.txt

.venv/.ready: pyproject.toml constraints.txt
	@scripts/system-packages run
	@echo "setting up .venv (once, about a minute)"
	@scripts/virtualenv

deploy/grafana/node_modules/.ready: deploy/grafana/package.json
	@scripts/dashboard-types

deploy/kubernetes/node_modules/.ready: deploy/kubernetes/package.json
	@cd deploy/kubernetes && npm install --silent --no-audit --no-fund --no-package-lock && touch node_modules/.ready

packages:  ## the system packages of the real components (installs as root, else names them)
	@scripts/system-packages test

run: setup  ## 204 answering points, two firewalls and the daemon on loopback; CONFIG=FILE for one's own
	@$(BIN)/psapwatch $(if $(CONFIG),run --config $(CONFIG),demo --endless) $(ARGS)

test: packages setup deploy/grafana/node_modules/.ready deploy/kubernetes/node_modules/.ready  ## every test, the live ones included; ARGS='-k name' for some
	@$(if $(ARGS),$(PYTEST) $(ARGS),scripts/every-test)

check: packages setup lint types test examples rules  ## what CI asks for before a change goes in
	@$(MAKE) --no-print-directory seeds SEEDS=$(CI_SEEDS) SCENARIO_SEEDS=1

format: setup  ## write the files as the formatter wants them
	@$(BIN)/ruff format daemon tests deploy/grafana
	@$(BIN)/ruff check --fix daemon tests deploy/grafana

lint: setup
	@$(BIN)/ruff format --check daemon tests deploy/grafana
	@$(BIN)/ruff check daemon tests deploy/grafana

types: setup
	@$(BIN)/mypy

seeds: setup  ## SEEDS=200 worlds by chance and SCENARIO_SEEDS=200 of each outage, on all cores: hours
	@PSAPWATCH_SEEDS=$(CI_SEEDS) $(BIN)/python -m pytest -m seeds --timeout=1800
	@$(BIN)/psapwatch replay random --seeds $(SEEDS)
	@$(BIN)/psapwatch replay --all --seeds $(SCENARIO_SEEDS)

dialogs: setup  ## DIALOGS=10000 random dialogs: each ends on both sides
	@$(BIN)/python tests/random_dialogs.py --count $(DIALOGS) --seed 1

fuzz: setup  ## random octets, FUZZ_EXAMPLES=20000 a target
	@PSAPWATCH_FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(PYTEST) -m fuzz --hypothesis-profile=fuzz --timeout=3600

round-trips: packages setup  ## our clock against a capture's, at 200 probes a second (root)
	@$(BIN)/python tests/round_trips.py $(ARGS)

left-behind: packages setup  ## what our calls and SIPp's leave at the far end, from captures (root); ARGS=--write for the page
	@$(BIN)/python tests/left_behind.py $(ARGS)

pace: setup  ## what simulated time costs: an hour of 204 PSAPs, a day of 20
	@$(BIN)/python tests/benchmark_simulation.py $(ARGS)

bench: setup  ## what probing costs: median and spread of several runs
	@$(BIN)/python tests/benchmark.py $(ARGS)

bench-judging: setup  ## what judging costs: microseconds a diagnosis and a pooled sample
	@$(BIN)/python tests/benchmark_judging.py $(ARGS)

presses: setup  ## seconds from a press on the demo's page to its true alert, about an hour; ARGS='--each 1' for a look
	@$(BIN)/python tests/button_presses.py $(ARGS)

golden: setup  ## the golden cases written anew from the simulator; ARGS='invite_blocked' for some
	@$(BIN)/python tests/golden_evidence.py $(ARGS)

confusion: setup  ## scenario by cause that was named; SCENARIO_SEEDS=1 of each
	@$(BIN)/psapwatch replay --all --causes --seeds $(SCENARIO_SEEDS) $(ARGS)

examples: setup  # the documented configuration loads
	@for file in $(wildcard config/*.yml); do $(BIN)/psapwatch check-config --config $$file || exit 1; done

dashboards: setup  ## write deploy/grafana/dashboards anew
	@PYTHONPATH=deploy/grafana $(BIN)/python -m psapwatch_dashboards

pictures: packages setup  ## the pictures of the documentation, taken anew in a browser while the demo's firewall blocks
	@folder=$$(mktemp -d) && PSAPWATCH_SCREENSHOTS=$$folder $(PYTEST) tests/live/test_demo.py -k presses_a_button \
	  && cp $$folder/status-blocked.png $$folder/town-blocked.png docs/pictures/ && rm -rf $$folder

rules: packages  # Prometheus and Alertmanager read what is shipped
	@for file in $(wildcard deploy/prometheus/tests/*.yml); do promtool test rules $$file || exit 1; done
	@for file in $(wildcard deploy/alertmanager/*.yml); do amtool check-config $$file || exit 1; done

install:  ## the systemd service, under /opt (as root; docs/operations.md)
	@sh deploy/systemd/install.sh

image: packages setup  ## the container image, built and tried (root; about a minute, the first time two)
	@$(PYTEST) tests/deploy/test_image.py

clean:  ## everything that make made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
