# Everything that is done to this repository. CI runs `make check` and nothing else.
# Needs a Rust toolchain, gcc and Python >= 3.10; the rest is installed into .venv and .venv-test.

PYTHON ?= python3

VENV := .venv/bin
TEST := .venv-test/bin
PIP := -m pip --disable-pip-version-check --quiet
PIP_WITH_GROUPS := 'pip>=25.1'
WHEEL = $$(echo target/wheels/vgcore-*.whl)
ISAS = $(if $(filter x86_64,$(shell uname -m)),avx512 avx2,neon)
# Folders are listed too: a deleted file shows in nothing else.
SOURCES := $(wildcard Cargo.toml Cargo.lock pyproject.toml README.md LICENSE*) \
	$(shell find src python -not -path '*/__pycache__*')

# Examples of a property, in Rust and by the profile of tests/strategies.py; VGCORE_EXAMPLES overrides both.
EXAMPLES = 30
PROFILE = test
check: EXAMPLES = 200
check: PROFILE = check
RUST_TEST = VGCORE_EXAMPLES=$(or $(VGCORE_EXAMPLES),$(EXAMPLES)) cargo test --locked --profile quick --quiet
# A process a core: threads of BLAS would wait for each other.
PYTEST = OPENBLAS_NUM_THREADS=1 HYPOTHESIS_PROFILE=$(PROFILE) $(TEST)/pytest --numprocesses auto --dist worksteal
# The core beside its twin, gradients of every kind, fields of a spec, the judge: what fails first when something breaks.
QUICK := $(addprefix tests/test_,parity.py spec.py plan.py init.py gradients_matrix.py rules.py network.py)

# How much `make fuzz` does, and from which seed; the tests run 5,000 calls of seed 0.
CALLS = 50000
SEED = 1

# The tests must see the installed wheel, whatever the shell has set.
unexport PYTHONPATH

.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo quick test check wheel lint smoke audit fuzz bench gallery diagnosis examples clean

define say
@printf '\n== %s\n' '$(1)'
endef

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.installed ## Build, install into .venv, run the depth sweep, draw it into demo/
	$(call say,demo: depth sweep)
	mkdir -p demo
	$(VENV)/vgcore sweep --data digits --depth 1,2,4,8,16,32,64,128 \
		--activation sigmoid,tanh,relu --init xavier_normal,kaiming_normal --skip none,residual \
		--width 64 --batch 256 --seeds 4 --out demo/sweep.csv --plot demo

quick: EXAMPLES = 5
quick: PROFILE = quick
quick: | .venv-test ## The loop of a developer: formatting, ruff, unit tests, and the tests that say most in seconds
	cargo fmt --check
	$(TEST)/ruff check --quiet
	$(TEST)/ruff format --check --quiet
	$(RUST_TEST) --lib
	PYO3_PYTHON='$(abspath $(VENV)/python)' cargo build --locked --profile quick --quiet --lib --features python
	rm -rf target/quick/python
	mkdir -p target/quick/python
	cp -R python/vgcore target/quick/python
	for lib in target/quick/libvgcore.so target/quick/libvgcore.dylib; do \
		test ! -f $$lib || cp $$lib target/quick/python/vgcore/_core.abi3.so; done
	PYTHONPATH='$(CURDIR)/target/quick/python' $(PYTEST) $(QUICK) -k 'not jax and not torch and not far_beyond'

# Made once for `make quick`, which brings its own vgcore and does not wait for a wheel.
.venv-test:
	$(MAKE) .venv-test/.installed

test: lint ## Lint, Rust tests, then the wheel's tests in a clean .venv-test
	$(call say,test: Rust on every instruction set)
	for isa in $(ISAS) scalar; do VGCORE_ISA=$$isa $(RUST_TEST) --lib --tests || exit 1; done
	$(RUST_TEST) --doc
	$(call say,test: the installed wheel)
	$(TEST)/python -c 'import sys, vgcore; assert vgcore.__file__.startswith(sys.prefix), vgcore.__file__'
	$(TEST)/python -m mypy.stubtest vgcore._core
	$(PYTEST)

check: test smoke demo audit ## All that CI runs, properties on 200 examples where `make test` takes 30

smoke: .venv-test/.installed ## Compile and start every bench, in seconds
	$(call say,smoke: every bench)
	VGCORE_BENCH=smoke cargo bench --locked --profile quick --quiet
	for script in compare.py claims.py kinds.py arrivals.py store.py 'scan.py --out target/smoke.png' \
		'false_alarms.py --nets 2' 'guard.py record target/smoke.json'; do VGCORE_BENCH=smoke $(TEST)/python benches/$$script || exit 1; done

audit: ## Licences, sources and known faults of dependencies, as far as tools and databases are at hand
	$(call say,audit)
	.ci/audit.sh "$$(echo .venv/lib/python3*/site-packages)"

fuzz: .venv-test/.installed ## Call everything with odd values: make fuzz CALLS=200000 SEED=7, or REPLAY=7:1234 for one call
	$(call say,fuzz)
	PYTHONPATH=tests $(TEST)/python -m fuzz $(if $(REPLAY),--replay $(REPLAY),--calls $(CALLS) --seed $(SEED))

wheel: target/wheels/.built ## Build the release wheel into target/wheels

lint: .venv-test/.installed ## Formatting, clippy, ruff and mypy
	$(call say,lint: Rust)
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	PYO3_PYTHON='$(abspath $(VENV)/python)' cargo clippy --locked --all-targets --features python -- -D warnings
	$(call say,lint: Python)
	$(TEST)/ruff check
	$(TEST)/ruff format --check
	$(TEST)/mypy --strict

bench: .venv/.installed ## Table of targets, claims, scan for cliffs: 15 minutes, half an hour more with torch and JAX in .venv
	$(call say,bench: against NumPy, torch and JAX)
	$(VENV)/python benches/compare.py
	$(call say,bench: sweeps and deep nets)
	$(VENV)/python benches/claims.py
	$(call say,bench: cliffs)
	$(VENV)/python benches/scan.py

gallery: .venv/.installed ## Draw a picture of every kind and write docs/gallery.md: a minute
	$(call say,gallery)
	$(VENV)/python docs/gallery.py

diagnosis: .venv/.installed ## Measure the tables of docs/diagnosis.md and write it: half a minute
	$(call say,diagnosis)
	$(VENV)/python docs/diagnosis.py

examples: .venv/.installed ## Redraw the pictures of examples/: a minute
	$(call say,examples)
	for script in examples/*.py; do $(VENV)/python $$script --out examples/pictures/$$(basename $$script .py).png || exit 1; done

clean: ## Remove all that is built
	cargo clean
	rm -rf target .venv .venv-test demo .hypothesis .mypy_cache .pytest_cache .ruff_cache

# Each stamp lies inside what it vouches for, so removing the one removes the other.

.venv/.tools: pyproject.toml
	$(call say,.venv: build tools)
	$(PYTHON) -m venv --clear .venv
	$(VENV)/python $(PIP) install --upgrade $(PIP_WITH_GROUPS)
	$(VENV)/python $(PIP) install --group build
	@touch $@

target/wheels/.built: .venv/.tools $(SOURCES)
	$(call say,wheel)
	rm -rf target/wheels
	$(VENV)/maturin build --locked --release --interpreter $(VENV)/python --out target/wheels
	@touch $@

.venv/.installed: target/wheels/.built
	$(call say,.venv: install the wheel)
	$(VENV)/python $(PIP) install --force-reinstall --no-deps "$(WHEEL)"
	$(VENV)/python $(PIP) install "$(WHEEL)[plot]"
	@touch $@

.venv-test/.installed: target/wheels/.built
	$(call say,.venv-test: the wheel and its test tools)
	$(PYTHON) -m venv --clear .venv-test
	$(TEST)/python $(PIP) install --upgrade $(PIP_WITH_GROUPS)
	$(TEST)/python $(PIP) install --group test --group lint "$(WHEEL)[all]"
	@touch $@
