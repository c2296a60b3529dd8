# Everything that is done to this repository. CI and releases run these targets and nothing else.
# Needs a Rust toolchain, gcc and Python >= 3.10; the rest is installed into .venv and .venv-test.

# Windows has other names for Python and for the programs of an environment; recipes run in a Unix shell there too.
WINDOWS := $(filter Windows_NT,$(OS))
PYTHON ?= $(if $(WINDOWS),python,python3)
BIN := $(if $(WINDOWS),Scripts,bin)
VENV := .venv/$(BIN)
TEST := .venv-test/$(BIN)
TORCH := .venv-torch/$(BIN)
DOCS := .venv-docs/$(BIN)
DIST := .venv-dist/$(BIN)
PIP := -m pip --disable-pip-version-check --quiet
PIP_WITH_GROUPS := 'pip>=25.1'
WHEEL = $$(echo target/wheels/vgcore-*.whl)
ISAS = $(if $(filter x86_64,$(shell uname -m)),avx512 avx2,neon)
# What pages measure with, compiled where this toolchain has the target or can get it.
WASM_TARGET := wasm32-unknown-unknown
PAGE := python/vgcore/explore/static/vgcore.wasm
# No path of this machine gets into what is built for others.
REMAPPED = CARGO_ENCODED_RUSTFLAGS="$$($(PYTHON) packaging/remap.py $(1))"
# Folders are listed too: a deleted file shows in nothing else.
SOURCES := $(wildcard Cargo.toml Cargo.lock build.rs pyproject.toml README.md LICENSE*) packaging/remap.py \
	$(shell find src python -not -path '*/__pycache__*' -not -path $(PAGE) -not -path '*/explore/static')

# Examples of a property, in Rust and by the profile of tests/strategies.py; VGCORE_EXAMPLES overrides both.
EXAMPLES = 30
PROFILE = test
check: EXAMPLES = 200
check: PROFILE = check
RUST_TEST = VGCORE_EXAMPLES=$(or $(VGCORE_EXAMPLES),$(EXAMPLES)) cargo test --locked --profile quick --quiet
# A process a core: threads of BLAS would wait for each other.
PYTEST = OPENBLAS_NUM_THREADS=1 KERAS_BACKEND=jax HYPOTHESIS_PROFILE=$(PROFILE) $(TEST)/pytest --numprocesses auto --dist worksteal
# The core beside its twin, gradients of every kind, fields of a spec, the judge: what fails first when something breaks.
QUICK := $(addprefix tests/test_,parity.py spec.py plan.py init.py gradients_matrix.py rules.py network.py)

# What is called from threads: the core, its specs and nets. These tests share nothing that they change.
PARALLEL := $(addprefix tests/test_,threads.py network.py init.py plan.py blocks.py spelling.py)

# The tests that skip what is not installed, or ask rivals.
OPTIONAL := $(shell grep -lE 'importorskip|find_spec.library|session.missing|RIVALS' tests/test_*.py)

# How much `make fuzz` does, and from which seed; the tests run 5,000 calls of seed 0.
CALLS = 50000
SEED = 1

# What keeps one core busy (the link of the wheel, pip, mypy, scripts) goes two at a time; each says all at its end.
SIDE_BY_SIDE = --jobs 2 --no-print-directory $(if $(filter output-sync,$(.FEATURES)),--output-sync) \
	BESIDE=yes EXAMPLES=$(EXAMPLES) PROFILE=$(PROFILE)

# The tests must see the installed wheel, whatever the shell has set.
unexport PYTHONPATH
# A Unix shell on Windows would make paths of Windows of what looks like one of its own.
export MSYS2_ENV_CONV_EXCL := CARGO_ENCODED_RUSTFLAGS
# pip calls maturin by packaging/backend.py.
export MATURIN_NO_MISSING_BUILD_BACKEND_WARNING := 1

.DELETE_ON_ERROR:
ifndef BESIDE
.NOTPARALLEL:
endif
.PHONY: help demo quick test test-parallel test-torch check wheel sdist sdist-wheel dist dist-wheels dist-check dist-run wheel-check wasm lint smoke gates audit \
	audit-tools fuzz bench docs outputs gallery diagnosis kinds glossary examples test-rust test-wheel benchmarks \
	release-check clean

define say
@printf '\n== %s\n' '$(1)'
endef

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.installed ## Build, install into .venv, run the depth sweep, draw it into demo/
	$(call say,demo: depth sweep)
	mkdir -p demo
	$(VENV)/vgcore sweep --data digits --depth 1,2,4,8,16,32,64,128 \
		--activation sigmoid,tanh,relu --init xavier_normal,kaiming_normal --skip none,residual \
		--width 64 --batch 256 --seeds 4 --out demo/sweep.csv --plot demo --force --yes

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

test: lint test-rust test-wheel ## Lint, Rust tests, then the wheel's tests in a clean .venv-test

test-rust: ## Rust tests on every instruction set
	$(call say,test: Rust on every instruction set)
	for isa in $(ISAS) scalar; do VGCORE_ISA=$$isa $(RUST_TEST) --lib --tests || exit 1; done
	$(RUST_TEST) --doc

test-wheel: .venv-test/.installed ## Tests of the installed wheel
	$(call say,test: the installed wheel)
	$(TEST)/python -c 'import sys, vgcore; assert vgcore.__file__.startswith(sys.prefix), vgcore.__file__'
	$(TEST)/python -m mypy.stubtest vgcore._core
	$(PYTEST)

test-parallel: .venv-test/.installed ## Each test of some files in four threads at once; the real thing where PYTHON has no GIL
	$(call say,test-parallel)
	OPENBLAS_NUM_THREADS=1 HYPOTHESIS_PROFILE=quick $(TEST)/pytest --numprocesses 0 --parallel-threads=4 $(PARALLEL)

test-torch: .venv-torch/.installed ## Tests that need torch, Keras or flax, in .venv-torch: minutes and 4 GB to install
	$(call say,test-torch: the installed wheel beside torch and what else brings nets)
	OPENBLAS_NUM_THREADS=1 HYPOTHESIS_PROFILE=$(PROFILE) KERAS_BACKEND=jax \
		$(TORCH)/pytest --numprocesses auto --dist worksteal $(OPTIONAL)
	$(call say,test-torch: Keras on torch)
	KERAS_BACKEND=torch $(TORCH)/pytest tests/test_from_keras.py
	$(call say,test-torch: the comparison with torch)
	VGCORE_BENCH=smoke $(TORCH)/python benches/compare.py

# The tests of Rust take half as long where the compiler sees across the units of a crate, and no code will be changed.
check: export CARGO_INCREMENTAL = 0
check: export CARGO_PROFILE_QUICK_LTO = false
check: ## All that CI runs, properties on 200 examples where `make test` takes 30
	$(MAKE) $(SIDE_BY_SIDE) lint test-rust
	$(MAKE) PROFILE=$(PROFILE) test-wheel
	$(MAKE) $(SIDE_BY_SIDE) smoke demo gates audit docs
	$(call say,check: tests that need torch were skipped; `make test-torch` runs them)

smoke: .venv-test/.installed ## Compile and start every bench, in seconds
	$(call say,smoke: every bench)
	VGCORE_BENCH=smoke cargo bench --locked --profile quick --quiet
	for script in compare.py claims.py kinds.py gated_theory.py arrivals.py store.py watch.py 'scan.py --out target/smoke.png' \
		'false_alarms.py --nets 2' 'guard.py record target/smoke.json' training.py sequences.py \
		'trained_facts.py --only D2,P5,optimisers' sequence_facts.py 'trainable.py --nets 10'; do VGCORE_BENCH=smoke $(TEST)/python benches/$$script || exit 1; done

gates: .venv-test/.installed ## Every name has a type, nothing breaks unsaid since the last tag, workflows are sound
	$(call say,gates: types of all names)
	PATH="$(abspath $(TEST)):$$PATH" basedpyright --verifytypes vgcore --ignoreexternal > target/types.txt \
		|| { grep -E -B 1 -A 1 ' error: ' target/types.txt; false; }
	grep 'completeness score' target/types.txt
	$(call say,gates: public names since the last tag)
	$(TEST)/python packaging/api.py
	$(call say,gates: workflows)
	$(TEST)/zizmor --offline --quiet --persona pedantic .github

audit-tools: ## Compile cargo-deny and fetch the advisories that it knows: what `make audit` skips without
	cargo install --locked cargo-deny@0.20.2
	cargo deny fetch

audit: ## Licences, sources and known faults of dependencies, as far as tools and databases are at hand
	$(call say,audit)
	.ci/audit.sh "$$(echo .venv/lib/python3*/site-packages)"

fuzz: .venv-test/.installed ## Call everything with odd values: make fuzz CALLS=200000 SEED=7, or REPLAY=7:1234 for one call
	$(call say,fuzz)
	PYTHONPATH=tests $(TEST)/python -m fuzz $(if $(REPLAY),--replay $(REPLAY),--calls $(CALLS) --seed $(SEED))

wasm: ## Build what pages measure with into the package; without the target for it a line says that the wheel lacks it
	rm -f $(PAGE)
	if test -d "$$(rustc --print target-libdir --target $(WASM_TARGET))" || rustup target add $(WASM_TARGET); then \
		$(call REMAPPED,-Ctarget-feature=+simd128) cargo build --locked --profile page --lib --target $(WASM_TARGET) \
			--features wasm && cp target/$(WASM_TARGET)/page/vgcore.wasm $(PAGE); \
	else \
		echo 'wasm: this toolchain lacks $(WASM_TARGET): the wheel cannot save the explorer as a page'; \
	fi

wheel: target/wheels/.built ## Build the release wheel into target/wheels

dist: sdist dist-wheels dist-check dist-run sdist-wheel ## All that a release uploads, into target/dist: built, checked, run, and a table of it
	$(call say,dist: target/dist/TABLE.md)
	$(DIST)/python packaging/table.py

sdist: .venv-dist/.installed ## Build the source distribution into target/dist
	$(call say,sdist)
	$(DIST)/python packaging/build.py sdist

sdist-wheel: .venv-dist/.installed ## Build a wheel from the source distribution of target/dist, and throw it away
	$(call say,sdist-wheel)
	$(DIST)/python packaging/build.py from-sdist

dist-wheels: .venv-dist/.installed wasm ## Build the wheels of packaging/targets.py that this machine can, or TARGETS='musllinux cp314t'
	$(call say,dist-wheels)
	$(DIST)/python packaging/build.py wheels $(TARGETS)

dist-check: .venv-dist/.installed ## Check all of target/dist: tags, ABI, licences, SBOM, size, paths, metadata
	$(call say,dist-check)
	$(DIST)/python packaging/check.py

dist-run: .venv-dist/.installed ## Install the wheels of target/dist into empty environments, as they run here, and try them; PYTHONS='…' for more, EVERY=yes for no less
	$(call say,dist-run)
	$(DIST)/python packaging/run.py target/dist --json target/dist/run.json $(if $(EVERY),--every)

gates: wheel-check
wheel-check: .venv-dist/.installed target/wheels/.built ## Check the wheel of target/wheels, and an sdist beside it
	$(call say,wheel-check)
	$(DIST)/maturin sdist --out target/wheels
	$(DIST)/python packaging/check.py target/wheels

# The shell reads the name, not make: git lets a name have what either would run.
release-check: export TAG ?=
release-check: ## Hold the tree to TAG=vX.Y.Z, and print its release notes
	@$(PYTHON) packaging/tag.py "$$TAG"

lint: .venv-test/.installed ## Formatting, clippy, ruff and mypy
	$(call say,lint: Rust)
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	PYO3_PYTHON='$(abspath $(VENV)/python)' cargo clippy --locked --all-targets --features python -- -D warnings
	test ! -d "$$(rustc --print target-libdir --target $(WASM_TARGET))" || RUSTFLAGS='-C target-feature=+simd128' \
		cargo clippy --locked --lib --target $(WASM_TARGET) --features wasm -- -D warnings
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

docs: .venv-docs/.installed .venv/.installed ## Build the site of docs/ into target/site, strictly: a warning fails
	$(call say,docs: the site in target/site)
	$(DOCS)/zensical build --strict --clean
	$(VENV)/python docs/explorer.py target/site
	$(DOCS)/python docs/assets.py target/site

outputs: .venv-test/.installed ## Run every block of README.md and docs/, and write what it prints below it: a minute
	$(call say,outputs)
	OPENBLAS_NUM_THREADS=1 $(TEST)/python docs/outputs.py
	$(TEST)/python docs/notebook.py docs/tutorial.md

gallery: .venv/.installed ## Draw a picture of every kind and write docs/gallery.md: a minute
	$(call say,gallery)
	$(VENV)/python docs/gallery.py

diagnosis: .venv/.installed ## Measure the tables of docs/diagnosis.md and write it: half a minute
	$(call say,diagnosis)
	$(VENV)/python docs/diagnosis.py

kinds: .venv/.installed ## Write docs/kinds.md from the tables of the core
	$(call say,kinds)
	$(VENV)/python docs/kinds.py

benchmarks: .venv/.installed ## Write docs/benchmarks.md and the table of README.md from the records of benches/records
	$(call say,benchmarks)
	$(VENV)/python docs/benchmarks.py

glossary: .venv/.installed ## Write docs/glossary.md from the words of `vgcore explain`
	$(call say,glossary)
	$(VENV)/python docs/glossary.py

examples: .venv/.installed ## Redraw the pictures of examples/: a minute
	$(call say,examples)
	for script in examples/*.py; do $(VENV)/python $$script --out examples/pictures/$$(basename $$script .py).png || exit 1; done

clean: ## Remove all that is built
	cargo clean
	rm -f $(PAGE)
	rm -rf target .venv .venv-test .venv-torch .venv-docs .venv-dist demo .hypothesis .mypy_cache .pytest_cache .ruff_cache

# Each stamp lies inside what it vouches for, so removing the one removes the other.

.venv/.tools: pyproject.toml
	$(call say,.venv: build tools)
	$(PYTHON) -m venv --clear .venv
	$(VENV)/python $(PIP) install --upgrade $(PIP_WITH_GROUPS)
	$(VENV)/python $(PIP) install --group build
	@touch $@

target/wheels/.built: .venv/.tools $(SOURCES)
	$(call say,wheel)
	$(MAKE) wasm
	rm -rf target/wheels
	$(REMAPPED) $(VENV)/maturin build --locked --release --interpreter $(VENV)/python --out target/wheels
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
	$(TEST)/python $(PIP) install --group test --group browser --group lint --group gates --group build "$(WHEEL)[all]"
	@touch $@

.venv-torch/.installed: target/wheels/.built
	$(call say,.venv-torch: the wheel beside torch)
	$(PYTHON) -m venv --clear .venv-torch
	$(TORCH)/python $(PIP) install --upgrade $(PIP_WITH_GROUPS)
	$(TORCH)/python $(PIP) install --group torch --group test "$(WHEEL)[all]"
	@touch $@

.venv-docs/.installed: pyproject.toml
	$(call say,.venv-docs: what builds the site)
	$(PYTHON) -m venv --clear .venv-docs
	$(DOCS)/python $(PIP) install --upgrade $(PIP_WITH_GROUPS)
	$(DOCS)/python $(PIP) install --group docs
	@touch $@

.venv-dist/.installed: pyproject.toml
	$(call say,.venv-dist: what builds and checks wheels)
	$(PYTHON) -m venv --clear .venv-dist
	$(DIST)/python $(PIP) install --upgrade $(PIP_WITH_GROUPS)
	$(DIST)/python $(PIP) install --group dist
	@touch $@
