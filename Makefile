# Python Chat, one verb a gate; CI calls the same ones.  `make` alone lists them.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
PIP := python -m pip --quiet --disable-pip-version-check
METADATA := setup.cfg pyproject.toml

# Stamps.  Another PYTHON makes the environment anew, and a newer setup.cfg installs again.
MADE := $(VENV)/.made-by-$(notdir $(PYTHON))
SERVES := $(VENV)/.serves
TESTS := $(VENV)/.tests
CHECKS := $(VENV)/.checks

# The compiled chat has an environment of its own, and a wheel that nothing else is made of.
OWN := $(abspath $(VENV)-compiled)
COMPILED := $(OWN)/.compiled
WHEELS := build/wheel
COPY := build/compiled
SOURCES := $(METADATA) README.md $(shell find setup.py building pychat twisted -type f ! -name '*.pyc' ! -name dropin.cache 2>/dev/null)

# Somebody's own environment that we could install into is not made anew, unless a PYTHON is named.
ADOPTS := $(and $(filter file,$(origin PYTHON)),$(if $(wildcard $(VENV)/.made-by-*),,yes),$(wildcard $(VENV)/pyvenv.cfg),\
    $(shell $(BIN)/python -c 'import pip, sys; print("yes" * (sys.version_info >= (3, 10)))' 2>/dev/null))

# The interpreter below an environment: one that lives in $(VENV) would take itself away.
BASE := import os, sys; base = sys._base_executable; \
    print(base if os.path.exists(base) else os.path.realpath(sys.executable))

.DEFAULT_GOAL := help
.PHONY: help serve compiled test test-compiled trial test-system chaos crowd coverage lint types docs survive bench bench-chat \
    bench-transfer bench-history clean

help:  ## list these verbs
	@echo 'make VERB, where VERB is one of'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) \
	| while IFS='|' read -r verb tells; do printf '  %-14s %s\n' "$$verb" "$$tells"; done
	@echo 'ARGS="…" goes to the program that is run: make serve ARGS="--listen tcp:50001"'
	@echo 'PYTHON=… picks the interpreter:           make serve PYTHON=python3.12'

serve: $(SERVES)  ## install into .venv and run the chat on 127.0.0.1:50000, with files/ shared
	@exec $(BIN)/twistd -n --pidfile= pychat $(ARGS)

compiled: $(COMPILED)  ## install the chat as `pip install .` does, compiled, into .venv-compiled

test: $(TESTS)  ## run every test that needs nothing but Python
	$(BIN)/pytest -m 'not system' $(ARGS)

test-compiled: $(COMPILED)  ## run `test` in a copy of this tree that has the compiled modules
	rm -rf $(COPY)
	mkdir -p $(COPY)
	git -c core.quotePath=false ls-files --cached --others --exclude-standard \
	| while IFS= read -r file; do [ ! -e "$$file" ] || printf '%s\n' "$$file"; done \
	| tar -cf - -T - | tar -xf - -C $(COPY)
	$(OWN)/bin/python -m zipfile -e $(WHEELS)/*.whl $(COPY)
	cd $(COPY) && $(OWN)/bin/python -m pytest -p tests.compiled -m 'not system' $(ARGS)

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

bench: $(COMPILED)  ## measure deliveries per second, CPU per delivery, time to accept, and MB/s of a download
	$(OWN)/bin/python benchmarks/chat.py --only sat100 --no-peers
	$(OWN)/bin/python benchmarks/latency.py
	$(OWN)/bin/python benchmarks/transfer.py --only loopback --no-peers --runs 3

bench-chat: $(COMPILED)  ## measure the chat beside redis and IRC servers: make bench-chat ARGS="--load COMMAND"
	$(OWN)/bin/python benchmarks/chat.py $(ARGS)

bench-transfer: $(SERVES)  ## measure files over bad links, beside TCP and QUIC: make bench-transfer ARGS="--link COMMAND"
	$(BIN)/python benchmarks/transfer.py $(ARGS)

bench-history: $(COMPILED)  ## measure pages of history and searches in 5 million messages, beside people who chat
	$(OWN)/bin/python benchmarks/history.py $(ARGS)

clean:  ## remove what these verbs have made
	rm -rf $(VENV) $(OWN) build dist *.egg-info .coverage .hypothesis .mypy_cache .ruff_cache _trial_temp*
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
	$(BIN)/$(PIP) install --editable .
	@touch $@

$(TESTS): $(MADE) $(METADATA)
	$(BIN)/$(PIP) install --editable '.[test]'
	@touch $@ $(SERVES)

$(CHECKS): $(MADE) $(METADATA)
	$(BIN)/$(PIP) install --editable '.[test,dev]'
	@touch $@ $(TESTS) $(SERVES)

$(COMPILED): $(MADE) $(SOURCES)
	@[ $@ -nt $(MADE) ] || { base=$$($(BIN)/python -c '$(BASE)') && "$$base" -m venv --clear $(OWN); }
	rm -rf $(WHEELS)
	PYCHAT_COMPILE=1 $(BIN)/$(PIP) wheel --no-deps --wheel-dir $(WHEELS) .
	@# What is there already in this version would be left there.
	$(OWN)/bin/$(PIP) install "$$(echo $(WHEELS)/*.whl)[test]"
	$(OWN)/bin/$(PIP) install --force-reinstall --no-deps $(WHEELS)/*.whl
	@touch $@
