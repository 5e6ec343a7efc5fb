# Included by the Makefile at the top, whose directory is the one that these run in.
PYTHON ?= python

.PHONY: bench bench-workers bench-tools zero-downtime

bench: bench-tools
	$(PYTHON) -m benchmarks.cpu

bench-workers: bench-tools
	$(PYTHON) -m benchmarks.cpu --workers

zero-downtime:
	$(PYTHON) -m benchmarks.zero_downtime

# Only root can install what is missing; others are told by the benchmark what they need.
bench-tools:
	@PATH="$$PATH:/usr/sbin"; \
	if ! { command -v nginx && command -v wrk && command -v taskset; } >/dev/null && [ "$$(id -u)" = 0 ]; \
	then apt-get install -y nginx-light wrk util-linux; fi
