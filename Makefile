# Everything sets itself up: a virtual environment in .venv, and what the command needs inside it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMPILED := build/compiled
HAS_HEADERS := $(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
SOURCES := pyproject.toml bgproxy/__init__.py
# What is compiled, on its own and on real sockets; and whole programs, of which more is not compiled than is.
TESTS_OF_COMPILED := tests/test_compiled.py tests/http1 tests/routing tests/mirroring tests/proxy tests/clients
TESTS_OF_PROGRAMS := tests/process tests/cli tests/ledger

.PHONY: help demo test test-compiled test-tools compiler wheel compiled lint fuzz bench bench-workers bench-tools latency growth wire wire-tools faults memory micro zero-downtime cutover locust clean

help: ## what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: $(VENV)/run ## the story of a release, live: canary, cutover, rollback, crashes, and the proof that nothing was lost
	$(BIN)/bgproxy demo

test: $(VENV)/dev test-tools lint ## every check and every test, and most of them once more compiled (as root it installs curl, chromium, valgrind and gcc)
	$(BIN)/python -m pytest -n 2 --dist loadfile
	$(MAKE) --no-print-directory test-compiled TESTS_OF_PROGRAMS=

wheel: $(BIN)/python compiler ## a wheel for this machine and Python in dist/, with compiled what every request goes through (as root it installs gcc)
	BGPROXY_COMPILE=1 $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

compiled: wheel ## a virtual environment with that wheel, in build/compiled/venv
	$(BIN)/python -m venv $(COMPILED)/venv
	$(COMPILED)/venv/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps "$$(ls -t dist/*-linux_*.whl | head -1)"
	$(COMPILED)/venv/bin/python -m pip install --quiet --disable-pip-version-check "$$(ls -t dist/*-linux_*.whl | head -1)[dev]"

# In a copy, because beside the sources they would be what is tested.
test-compiled: compiled test-tools ## the tests of a running bgproxy and of what is compiled, with the wheel installed
	rm -rf $(addprefix $(COMPILED)/,tests fuzz benchmarks docs config)
	cp -r tests fuzz benchmarks docs config README.md pyproject.toml $(COMPILED)
	cd $(COMPILED) && BGPROXY_COMPILE=1 venv/bin/python -m pytest -n 2 --dist loadfile -m 'not interpreted' \
	  $(TESTS_OF_COMPILED) $(TESTS_OF_PROGRAMS)

lint: $(VENV)/dev ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fuzz: $(VENV)/fuzz ## any bytes at the parsers, judged by llhttp and h11 (FUZZ_RUNS=1000000 for each target)
	$(BIN)/python -m fuzz

bench: $(VENV)/bench $(VENV)/wire bench-tools compiled ## CPU per request, as it is and compiled, beside nginx, HAProxy, Envoy, Caddy, Traefik and aiohttp, in one run (as root it installs the first two and wrk)
	$(BIN)/python -m benchmarks.cpu

bench-workers: $(VENV)/bench bench-tools ## the same with one and with two workers
	$(BIN)/python -m benchmarks.cpu --workers

latency: $(VENV)/bench bench-tools ## what bgproxy and nginx add to latency at a quarter, half and three quarters of what nginx can do
	$(BIN)/python -m benchmarks.latency

growth: $(VENV)/bench bench-tools ## CPU per request and memory with more connections, upstreams, services, bytes and workers
	$(BIN)/python -m benchmarks.growth

faults: $(VENV)/dev ## upstreams that fail in every way, under load: what clients notice, beside what a perfect proxy would show
	$(BIN)/python -m benchmarks.faults

memory: $(VENV)/dev ## what slow readers, slow uploads and idle connections cost a worker in memory
	$(BIN)/python -m benchmarks.memory

micro: $(VENV)/dev test-tools ## instructions of each part of a request, beside those recorded (as root it installs valgrind)
	$(BIN)/python -m benchmarks.micro

zero-downtime: $(VENV)/bench ## cutovers under load, with a report and a plot in benchmarks/results (TLS=1: through TLS)
	$(BIN)/python -m benchmarks.zero_downtime $(if $(TLS),--tls)

locust: $(VENV)/bench ## the same with locust (TLS=1: through TLS)
	$(BIN)/python -m benchmarks.locust_run $(if $(TLS),--tls)

cutover: $(VENV)/bench $(VENV)/wire wire-tools ## a switch by bgproxy beside the peers' own ways (LONG=1: bgproxy alone, a million requests, against its budget)
	$(BIN)/python -m benchmarks.cutover $(if $(LONG),--requests 1000000 --switches 100)

wire: $(VENV)/wire wire-tools ## raw bytes at bgproxy, nginx, HAProxy, Envoy, Caddy and Traefik: who is right how often
	$(BIN)/python -m benchmarks.wire

clean: ## remove what these commands made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

# Debian keeps the venv module in a package of its own.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "bgproxy needs Python 3.11 or later: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); \
	  echo "installing python3-venv, which this Python lacks"; \
	  apt-get update -qq && apt-get install -y -qq python3-venv && $(PYTHON) -m venv $(VENV); }

$(VENV)/run: $(BIN)/python $(SOURCES)
	BGPROXY_COMPILE=0 $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/dev: $(BIN)/python $(SOURCES)
	BGPROXY_COMPILE=0 $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(VENV)/fuzz: $(BIN)/python $(SOURCES)
	BGPROXY_COMPILE=0 $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	@touch $@

$(VENV)/bench: $(BIN)/python $(SOURCES)
	BGPROXY_COMPILE=0 $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

$(VENV)/wire: $(BIN)/python $(SOURCES)
	BGPROXY_COMPILE=0 $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[wire]'
	@touch $@

# Only root can install what is missing; others are told by the benchmark or the test what it needs.
test-tools:
	@if ! { command -v curl && command -v chromium && command -v valgrind; } >/dev/null && [ "$$(id -u)" = 0 ]; \
	then apt-get update -qq && apt-get install -y -qq --no-install-recommends curl ca-certificates chromium valgrind; fi

compiler:
	@if ! { command -v gcc && $(HAS_HEADERS); } >/dev/null && [ "$$(id -u)" = 0 ]; \
	then apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev python3-dev; fi

bench-tools:
	@PATH="$$PATH:/usr/sbin"; \
	if ! { command -v nginx && command -v haproxy && command -v wrk && command -v taskset; } >/dev/null && [ "$$(id -u)" = 0 ]; \
	then apt-get update -qq && apt-get install -y -qq nginx-light haproxy wrk util-linux; fi

wire-tools:
	@PATH="$$PATH:/usr/sbin"; \
	if ! { command -v nginx && command -v haproxy && command -v taskset; } >/dev/null && [ "$$(id -u)" = 0 ]; \
	then apt-get update -qq && apt-get install -y -qq nginx-light haproxy util-linux; fi
