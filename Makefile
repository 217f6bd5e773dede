# Python Chat, one verb a gate; CI calls the same ones.  `make` alone lists them.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
METADATA := setup.cfg pyproject.toml

# Stamps.  Another PYTHON makes the environment anew, and a newer setup.cfg installs again.
MADE := $(VENV)/.made-by-$(notdir $(PYTHON))
SERVES := $(VENV)/.serves
TESTS := $(VENV)/.tests
CHECKS := $(VENV)/.checks

# Somebody's own environment that we could install into is not made anew, unless a PYTHON is named.
ADOPTS := $(and $(filter file,$(origin PYTHON)),$(if $(wildcard $(VENV)/.made-by-*),,yes),$(wildcard $(VENV)/pyvenv.cfg),\
    $(shell $(BIN)/python -c 'import pip, sys; print("yes" * (sys.version_info >= (3, 10)))' 2>/dev/null))

# The interpreter below an environment: one that lives in $(VENV) would take itself away.
BASE := import os, sys; base = sys._base_executable; \
    print(base if os.path.exists(base) else os.path.realpath(sys.executable))

.DEFAULT_GOAL := help
.PHONY: help serve test trial test-system chaos crowd coverage lint types docs survive bench bench-chat bench-transfer bench-history clean

help:  ## list these verbs
	@echo 'make VERB, where VERB is one of'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) \
	| while IFS='|' read -r verb tells; do printf '  %-14s %s\n' "$$verb" "$$tells"; done
	@echo 'ARGS="…" goes to the program that is run: make serve ARGS="--listen tcp:50001"'
	@echo 'PYTHON=… picks the interpreter:           make serve PYTHON=python3.12'

serve: $(SERVES)  ## install into .venv and run the chat on 127.0.0.1:50000, with files/ shared
	@exec $(BIN)/twistd -n --pidfile= pychat $(ARGS)

test: $(TESTS)  ## run every test that needs nothing but Python
	$(BIN)/pytest -m 'not system' $(ARGS)

trial: $(TESTS)  ## run the tests that Twisted's own runner can run
	$(BIN)/trial --temp-directory=$(VENV)/_trial_temp tests

test-system: $(TESTS)  ## run the tests that need root, nc, telnet, tmux and network namespaces (Linux)
	$(BIN)/pytest -m system $(ARGS)

chaos: $(TESTS)  ## kill the daemon 50 times while 80 people talk in rooms, and check that nothing is lost, double, leaked or untrue
	$(BIN)/python -m tests.chaos $(ARGS)

crowd: $(TESTS)  ## stop readers, cut off 5,000 at once, pipeline a million commands, download and soak, and hold it against the targets
	$(BIN)/python -m tests.crowd $(ARGS)

survive: $(TESTS)  ## break links, kill both ends, fill disks, send noise: PYCHAT_LINK=COMMAND make survive
	$(BIN)/python -m tests.survival $(ARGS)

coverage: $(TESTS)  ## run `test` and fail if a branch of floors 0 to 2 was not taken
	$(BIN)/pytest -m 'not system' --cov $(ARGS)

lint: $(CHECKS)  ## check style, format and floors
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/lint-imports --no-cache

types: $(CHECKS)  ## check the types
	$(BIN)/mypy

docs: $(TESTS)  ## run the transcripts of the documents
	$(BIN)/pytest -m 'not system' docs tests/plays $(ARGS)

bench: $(SERVES)  ## measure deliveries per second, CPU per delivery, time to accept, and MB/s of a download
	$(BIN)/python benchmarks/chat.py --only sat100 --no-peers
	$(BIN)/python benchmarks/latency.py
	$(BIN)/python benchmarks/transfer.py --only loopback --no-peers --runs 3

bench-chat: $(SERVES)  ## measure the chat beside redis and IRC servers: make bench-chat ARGS="--load COMMAND"
	$(BIN)/python benchmarks/chat.py $(ARGS)

bench-transfer: $(SERVES)  ## measure files over bad links, beside TCP and QUIC: make bench-transfer ARGS="--link COMMAND"
	$(BIN)/python benchmarks/transfer.py $(ARGS)

bench-history: $(SERVES)  ## measure pages of history and searches in 5 million messages, beside people who chat
	$(BIN)/python benchmarks/history.py $(ARGS)

clean:  ## remove what these verbs have made
	rm -rf $(VENV) build dist *.egg-info .coverage .hypothesis .mypy_cache .ruff_cache _trial_temp*
	rm -f twisted/plugins/dropin.cache
	find pychat tests twisted benchmarks -name __pycache__ -prune -exec rm -rf {} +

ifneq ($(ADOPTS),)
$(MADE):
	@echo 'There is a $(VENV) that was not made by make: installing into it. For a fresh one, name an interpreter:' \
	    'make PYTHON=python3'
	@touch $@
else
$(MADE):
	@command -v $(PYTHON) >/dev/null || { \
	    echo 'There is no $(PYTHON) here. Install Python 3.10 or newer, or name yours: make PYTHON=python3.12' >&2; exit 1; }
	@version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || { \
	    echo '$(PYTHON) does not run. Name another: make PYTHON=python3.12' >&2; exit 1; }; \
	case $$version in 2.*|3.[0-9]) \
	    echo "$(PYTHON) is Python $$version, and Python Chat needs 3.10 or newer. Name one: make PYTHON=python3.12" >&2; exit 1;; esac; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make virtual environments. Install the package python3-venv" \
	        "(or python$$version-venv): sudo apt install python$$version-venv" >&2; exit 1; }
	@base=$$($(PYTHON) -c '$(BASE)') && echo "$$base -m venv --clear $(VENV)" && "$$base" -m venv --clear $(VENV)
	@touch $@
endif

$(SERVES): $(MADE) $(METADATA)
	$(PIP) --editable .
	@touch $@

$(TESTS): $(MADE) $(METADATA)
	$(PIP) --editable '.[test]'
	@touch $@ $(SERVES)

$(CHECKS): $(MADE) $(METADATA)
	$(PIP) --editable '.[test,dev]'
	@touch $@ $(TESTS) $(SERVES)
