# Falak's workbench. `make` lists the targets; each makes what it needs by itself, and nothing twice.
# Needed beforehand: Python >= 3.11 (with venv), a Rust toolchain (cargo), and a C compiler for linking.
#
# What is made where: .venv in this clone (Python, its packages, the `falak` command); compiled Rust in a
# cache of the user's (CARGO_TARGET_DIR), so that a second clone takes 2 minutes. Stamps in .venv tell what is done.

.DEFAULT_GOAL := help
.PHONY: help demo test core lint lint-python lint-rust format stubs bench soak build tools clean
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/falak
export CARGO_TARGET_DIR ?= $(CACHE)/target
export PATH := $(CURDIR)/.venv/bin:$(PATH):$(CACHE)/bin
export VIRTUAL_ENV := $(CURDIR)/.venv
export PIP_QUIET := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The first on PATH that is new enough. A version manager's shim may be there and not work: run it to know.
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell \
  $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
# Install what pyproject.toml lists, without building the project itself: $(call install,EXPRESSION OF t).
install = .venv/bin/python -c 'import tomllib; t = tomllib.load(open("pyproject.toml", "rb")); print(*($(1)), sep="\n")' \
  >$@.txt && .venv/bin/python -m pip install -r $@.txt && touch $@

NATIVE := $(shell find native -name '*.rs' -o -name 'Cargo.*')
# cargo by hand with maturin's settings: other ones would compile pyo3 anew at every change of hands.
CARGO = PYO3_BUILD_EXTENSION_MODULE=1 PYO3_CONFIG_FILE="$(firstword $(wildcard $(CARGO_TARGET_DIR)/maturin/pyo3-config-*-abi3.txt))" cargo
CRATES := --manifest-path native/Cargo.toml --release --locked
PURE := $(wildcard tests/unit tests/property tests/transcripts tests/simulation)
CODE := $(wildcard falak tests bench guests)

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 15

demo: .venv/built ## five nodes on loopback: publish, request, election, answer
	@.venv/bin/falak demo
	@echo "Next: .venv/bin/falak demo --keep leaves such a mesh running; README.md, By hand, makes one of your own."

test: tools .venv/built .venv/dev ## every test, none skipped (with Debian's packages from `make tools`)
	$(CARGO) test $(CRATES) --quiet --workspace --exclude falak-native --lib --tests
	FALAK_NO_SKIPS=1 .venv/bin/python -m pytest -n 2 --dist loadgroup

core: .venv/dev ## the pure tests, in seconds, without Rust
	.venv/bin/python -m pytest -q -n 2 $(PURE)

lint: lint-python lint-rust stubs ## style, types, imports, clippy (its first run: about 3 minutes more)

lint-python: .venv/dev
	.venv/bin/ruff check $(CODE)
	.venv/bin/ruff format --check $(CODE)
	.venv/bin/mypy $(CODE)
	.venv/bin/lint-imports

lint-rust: .venv/built
	$(CARGO) fmt --manifest-path native/Cargo.toml --all --check
	$(CARGO) clippy $(CRATES) --workspace --all-targets -- -D warnings

format: .venv/dev ## rewrite Python and Rust in the project's style
	.venv/bin/ruff check --fix-only $(CODE)
	.venv/bin/ruff format $(CODE)
	$(CARGO) fmt --manifest-path native/Cargo.toml --all

stubs: .venv/built .venv/dev ## hold falak/_native.pyi against the built extension
	.venv/bin/python -m mypy.stubtest falak._native

soak: .venv/built .venv/dev ## five nodes in bad weather: `make soak MINUTES=30`
	.venv/bin/python -m tests.chaos.soak $(or $(MINUTES),5)

bench: tools .venv/built .venv/dev ## each claim against its peer, and the list of targets missed
	.venv/bin/python -m bench

build: .venv/built ## the extension, and .venv/bin/falak

tools: .venv/dev ## Debian packages and foreign judges that tests need: the only target that touches the system
	@scripts/tools "$(CACHE)"

clean: ## remove .venv and what was built in this clone (the cache of compiled Rust stays)
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -f falak/_native*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/run: pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "No Python >= 3.11 on PATH. Install one, or say which: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version): a minute or less"
	@[ -x .venv/bin/python ] || $(PYTHON) -m venv .venv
	@$(call install,t["project"]["dependencies"] + t["build-system"]["requires"])

.venv/dev: .venv/run
	@echo "Adding what tests and checks need to .venv: a minute or less"
	@$(call install,t["project"]["optional-dependencies"]["dev"])

.venv/built: .venv/run $(NATIVE)
	@command -v cargo >/dev/null || { echo "No cargo on PATH. Install a Rust toolchain (1.95 or newer), then run make again." >&2; exit 1; }
	@echo "Building the native extension: about 5 minutes the first time on 2 cores, 2 minutes in a second clone,"
	@echo "half a minute after a change. Compiled crates are kept in $(CARGO_TARGET_DIR)"
	.venv/bin/maturin develop --release
	@touch $@
