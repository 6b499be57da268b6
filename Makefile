# The front door. `make help` lists what is here; every target calls `tandem`, which knows how.

# The newest supported python3.x is found unless one is named.
PYTHON ?=
VENV ?= .venv
MODEL ?= digits_cnn
PROFILE ?= quick
# A clear difference is decided by one block of fresh servers, and the demo ends there; a close one needs more time.
DECIDE_WITHIN ?= $(if $(filter quick,$(PROFILE)),5min)
TARGET ?= torchserve
RUN ?= runs/latest
P99_MS ?= 20
# Where the CPU build of PyTorch is fetched from if pip's own configuration does not offer it.
TORCH_INDEX_URL ?= https://download.pytorch.org/whl/cpu
# It may hold a password: the shell reads it there, and pip from a pipe, so that it is in no process's arguments.
export TORCH_INDEX_URL

# The longest first, so that no process is left with one of them at the end.
TEST_ORDER := tests/containers tests/e2e tests/targets tests/fuzz tests/unit
# Comparisons that run at the same time wait for one another, and starts and warm-ups leave cores idle meanwhile.
TEST_JOBS ?= 3

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install -qq --no-deps --no-compile
LOCKS := $(wildcard requirements/*.lock) requirements/torch-cuda.txt
READY := $(VENV)/.ready

# pytest rewrites the tests before it runs them: where a shell says this, all of them again each time, in each process.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test setup check check-locks train export verify serve compare slo tune images up down logs smoke report gate history claims doctor bench bench-servers bench-truth bench-verdicts bench-kills soak lock test-fresh clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { \
	    line = sprintf("  %-14s", $$1); count = split($$2, words, " "); \
	    for (i = 1; i <= count; i++) { \
	        if (length(line) + length(words[i]) > 78) { print line; line = sprintf("%16s", "") } \
	        line = line " " words[i] } \
	    print line }' $(MAKEFILE_LIST)
	@echo "  Settings: MODEL=$(MODEL) PROFILE=$(PROFILE) TARGET=$(TARGET) RUN=$(RUN)"
	@echo "            PYTHON=$(or $(PYTHON),newest of 3.13 3.12 3.11)"

demo: setup  ## Set up, export, verify, compare both roads, and print where the report is
	$(BIN)/tandem compare $(MODEL) --profile $(PROFILE) $(addprefix --decide-within ,$(DECIDE_WITHIN))

test: setup  ## Set up, then check lint and types, and run every test that this machine is able to run
	$(MAKE) --no-print-directory -j2 --keep-going lint tests

# Types are checked on one core, beside the tests: without mypy's cache that is half a minute.
.PHONY: lint quick tests
tests:
	.ci/tests $(BIN)/python $(TEST_JOBS) $(TEST_ORDER)

check: setup  ## Check lint, format and types, and run the unit tests but for the slow ones
	$(MAKE) --no-print-directory -j2 --output-sync=target lint quick

quick:
	$(BIN)/pytest -q -n logical --dist loadfile -m "not slow" tests/unit tests/targets

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: $(READY)  ## Install everything, pinned, into .venv (no CUDA packages)

# Where a Python is named and the environment is another's, it is made anew; a folder that is no environment stays.
IDENTITY := -I -S -c 'import sys; print(sys.base_prefix, sys.version)'
ifneq ($(PYTHON),)
ANOTHER := $(shell exec 2>/dev/null; named=$$(requirements/find-python '$(PYTHON)'); \
    [ ! -e $(VENV) ] || [ "$$("$$named" $(IDENTITY))" = "$$($(BIN)/python $(IDENTITY))" ] || echo another-python)
endif
.PHONY: another-python

$(READY): $(LOCKS) pyproject.toml $(ANOTHER)
	@python=$$(requirements/find-python "$(PYTHON)") || exit 2; \
	echo "Installing into $(VENV) with $$($$python -V), $$python; the downloads may take some minutes"; \
	$$python -m venv $(if $(ANOTHER),$(if $(wildcard $(VENV)/pyvenv.cfg),--clear)) $(VENV)
	@$(MAKE) --no-print-directory -j3 install-torch install-tensorflow install-rest
	$(INSTALL) --no-build-isolation --editable .
	@$(COMPILE)
	@touch $@

# All cores compile, which pip does on one, and packages' own tests are left out. Python would compile at the first
# import as well, but then its warnings about others' code would be ours to show. Ours too: where a shell says
# PYTHONDONTWRITEBYTECODE, every command and server would compile them anew, a second of one core. No pool: that
# needs /dev/shm.
COMPILE = ls -d $(VENV)/lib/python3*/site-packages/*/ pipelines loadtests models | xargs -P "$$(nproc)" -n 4 \
    $(BIN)/python -W ignore -m compileall -qq -x '/tests?/' || true

# Three parts that have no file in common go in side by side: the two large wheels, and all the rest.
TORCH := ^torch==
TENSORFLOW := ^tensorflow
.PHONY: install-torch install-tensorflow install-rest
install-torch:
	@grep '$(TORCH)' requirements/torch.lock | $(INSTALL) -r /dev/stdin 2>/dev/null || { \
	    shown=$$(echo "$$TORCH_INDEX_URL" | sed 's|//[^/]*@|//|'); \
	    echo "pip is not configured to offer PyTorch's CPU build; fetching it from $$shown"; \
	    { echo "--extra-index-url $$TORCH_INDEX_URL"; grep '$(TORCH)' requirements/torch.lock; } \
	        | $(INSTALL) -r /dev/stdin; } || { \
	    echo "no CPU build there for this Python; taking the package index's own, with the CUDA libraries it opens (2.7 GB)"; \
	    $(INSTALL) -r requirements/torch-cuda.txt; }

install-tensorflow:
	@grep '$(TENSORFLOW)' requirements/tensorflow.lock | $(INSTALL) -r /dev/stdin

install-rest:
	@cat requirements/*.lock | grep -v '$(TORCH)\|$(TENSORFLOW)\|^#' | sort -u | $(INSTALL) -r /dev/stdin

train: setup  ## Train MODEL from scratch
	$(BIN)/tandem train $(MODEL)

export: setup  ## Export MODEL to every target
	$(BIN)/tandem export $(MODEL)

verify: setup  ## Compare every artifact of MODEL with the source model
	$(BIN)/tandem verify $(MODEL)

serve: setup  ## Serve MODEL on TARGET until Ctrl-C
	$(BIN)/tandem serve $(TARGET) --model $(MODEL)

compare: setup  ## Measure and compare under PROFILE (smoke, quick or full)
	$(BIN)/tandem compare $(MODEL) --profile $(PROFILE)

tune: setup  ## Find the configuration of SIDES=torchserve that sustains most with p99 within P99_MS
	$(BIN)/tandem tune $(MODEL) --sides $(or $(SIDES),torchserve) --p99-ms $(P99_MS)

slo: setup  ## Find the highest rate with p99 within P99_MS
	$(BIN)/tandem slo $(MODEL) --p99-ms $(P99_MS)

images: setup  ## Build the container images of MODEL
	$(BIN)/tandem images $(MODEL)

up: setup  ## Start both servers of MODEL in containers
	$(BIN)/tandem up $(MODEL)

down: setup  ## Stop and remove what `up` started
	$(BIN)/tandem down

logs: setup  ## Print the last log lines of what `up` started
	$(BIN)/tandem logs

smoke: setup  ## Deploy MODEL in containers, check all a deployment must do, take it down
	$(BIN)/tandem smoke $(MODEL)

report: setup  ## Rebuild the report of RUN from its raw files
	$(BIN)/tandem report $(RUN)

gate: setup  ## Show that the gate fires on this machine: a delay and wrong answers in front of a server
	$(BIN)/tandem gate --self-test --model $(MODEL)

history: setup  ## Show every figure of MODEL over all runs, and write a page of trends to history.html
	$(BIN)/tandem history $(MODEL) --html history.html

claims: setup  ## Measure what articles claim, where there is no run yet (hours, on a quiet machine), and write docs/claims.md
	$(BIN)/tandem claims --measure --page docs/claims.md

doctor: setup  ## Say what this machine is able to do
	$(BIN)/tandem doctor

bench: setup  ## Measure what recording costs, and how fast the embedded server is
	$(BIN)/python benchmarks/recording_overhead.py
	$(BIN)/python benchmarks/embedded_server.py

bench-servers: setup  ## Compare all servers for two models in a table: some hours, on a quiet machine
	$(BIN)/python benchmarks/servers.py digits_cnn=20 mobilenet_v2=200

bench-truth: setup  ## Measure known delays and a schedule of 1,000/s: four minutes, on a quiet machine
	$(BIN)/python benchmarks/known_delays.py

bench-verdicts: setup  ## Count wrong and missed verdicts and gates: hours, on a quiet machine; goes on where it ended
	$(BIN)/python benchmarks/verdict_trust.py same
	$(BIN)/python benchmarks/verdict_trust.py slower
	$(BIN)/python benchmarks/verdict_trust.py ending
	$(BIN)/python benchmarks/verdict_trust.py twofold
	$(BIN)/python benchmarks/verdict_trust.py gates

bench-kills: setup  ## Kill commands at 200 random moments and look at what they leave: an hour
	$(BIN)/python benchmarks/kills.py --count 200

soak: setup  ## Load each server for an hour at half the rate of the last SLO search, and see what grows
	$(BIN)/python benchmarks/soak.py --run $(RUN)

lock: setup  ## Resolve requirements/*.in again and pin the result
	$(BIN)/python requirements/compile.py

check-locks: setup  ## Look up a wheel for every pin, for each Python and machine, without downloading
	$(BIN)/python requirements/check_locks.py

test-fresh:  ## Run the README's two commands in a fresh Debian as an ordinary user: DIST=bookworm or trixie; needs root
	.ci/test-fresh "$(DIST)"

clean:  ## Remove artifacts and runs (not .venv)
	rm -rf artifacts runs
