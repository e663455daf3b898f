# Two commands do everything: `make demo` and `make test`. Both install what they need into .venv.
PYTHON ?= python3
UV_VERSION := 0.13.9
PIP_AUDIT_VERSION := 2.9.0
BIN := .venv/bin
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url

# Where the home cannot be written, uv keeps its downloads beside what it installs.
UV_CACHE := "$${UV_CACHE_DIR:-$${XDG_CACHE_HOME:-$$HOME/.cache}/uv}"
ifneq ($(shell mkdir -p $(UV_CACHE) 2>/dev/null && test -w $(UV_CACHE) && echo writable),writable)
export UV_CACHE_DIR := $(CURDIR)/.venv/cache
endif

.PHONY: demo test test-fault soak fuzz audit lint bench lock clean

demo: .venv/run
	$(BIN)/claimstream demo

test: lint
	$(BIN)/python -m pytest -m "not slow" --numprocesses 2 --dist worksteal

# Faults on real brokers and processes, one after the other: they measure time and kill what they start.
test-fault: .venv/dev
	$(BIN)/python -m pytest -m slow

# Random faults for half an hour, or `make soak MINUTES=2`; memory, threads and file descriptors stay flat.
MINUTES ?= 30
soak: .venv/dev
	$(BIN)/claimstream bench soak --minutes $(MINUTES)

# More than a million inputs of every kind that comes from outside.
fuzz: .venv/dev
	CLAIMSTREAM_FUZZ_EXAMPLES=3000 $(BIN)/python -m pytest tests/fuzz --timeout 3600

# Known vulnerabilities of what the lock names. Needs pypi.org's JSON interface, which mirrors mostly lack.
audit: .venv/uv
	$(BIN)/uv tool run --from pip-audit==$(PIP_AUDIT_VERSION) pip-audit --strict --require-hashes --disable-pip \
		--requirement requirements-dev.txt

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: .venv/dev
	$(BIN)/claimstream bench all --quick

# What the image has, and what builds it, are parts of the first file.
lock: .venv/uv
	$(COMPILE) pyproject.toml --extra embedded --group build --output-file requirements.txt
	$(COMPILE) pyproject.toml --constraints requirements.txt --output-file requirements-stage.txt
	$(COMPILE) --group build --constraints requirements.txt --output-file requirements-build.txt
	$(COMPILE) pyproject.toml --extra embedded --group build --group dev --constraints requirements.txt --output-file requirements-dev.txt

clean:
	rm -rf .venv build dist out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage

# Elsewhere the markers of the lock skip every package, and nobody says so.
define CHECK
import platform, sys
if not (3, 11) <= sys.version_info < (3, 14) or platform.python_implementation() != "CPython":
    sys.exit("Python 3.11 to 3.13 is needed: make clean, then make PYTHON=python3.13 demo")
if (sys.platform, platform.machine()) not in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")):
    sys.exit("Linux on x86-64 or arm64 is needed, or macOS on Apple silicon, with a Python that is made for it")
endef
export CHECK

.venv/uv: Makefile
	@$(PYTHON) -c "$$CHECK"
	test ! -L .venv || rm .venv
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	touch $@

.venv/run: .venv/uv requirements.txt pyproject.toml
	$(BIN)/uv pip install --quiet --require-hashes --python $(BIN)/python -r requirements.txt
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python -e .
	touch $@

.venv/dev: .venv/run requirements-dev.txt
	$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements-dev.txt
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python -e .
	touch $@
