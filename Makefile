# `make setup` makes a virtual environment, and makes it again when pyproject.toml changes. Every other target needs it and makes it.
#
#   make demo                     population based training against random search, on digits: about a minute
#   make test ARGS=-x             all tests of `make test`; ARGS goes to pytest
#   make test PYTHON=python3.12   the same with another Python, in .venv-python3.12; every target accepts PYTHON
#   make coverage                 the tests once more, slower, with the lines that none of them runs and a total
#   make frameworks               installs PyTorch, JAX, Optax and Keras as well, and tests the integrations against them
#   make wavenet                  the paper's experiment on real speech: some hours, can be interrupted; wavenet-quick: a minute
#   make soak                     thousands of trials while processes are killed, and of examples of properties: hours; ARGS goes to pytest
#   make mutants                  puts known mistakes into the package; a test must fail for each. ARGS=--check only applies them

PYTHON ?= python3
ARGS ?=
VENV := $(if $(filter-out python3,$(PYTHON)),.venv-$(notdir $(PYTHON)),.venv)
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# Three processes on two cores, because some tests only wait; one that has run its share takes tests from another.
PYTEST_OPTIONS := -n 3 --dist worksteal

.PHONY: setup demo test coverage lint frameworks wavenet wavenet-quick bench pictures soak mutants clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("broodline needs Python 3.11 or newer; $(PYTHON) is %s.%s. Try: make $(MAKECMDGOALS) PYTHON=python3.12" % sys.version_info[:2])'
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "$(PYTHON) can't make virtual environments. On Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet uv && UV_SYSTEM_CERTS=1 $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode -e '.[dev]' \
		|| $(BIN)/pip install --quiet -e '.[dev]'
	@touch $@

demo: setup
	$(BIN)/python examples/digits/demo.py

# The first line because tests start a thousand processes, and where PYTHONDONTWRITEBYTECODE is set each would compile the package.
test: setup
	$(BIN)/python -m compileall -q src
	$(BIN)/pytest $(PYTEST_OPTIONS) $(ARGS)

# Every process is measured, pytest's own and those that the tests start: `patch` in pyproject.toml. Each writes a file at its
# end, so they are combined after pytest and not, as pytest-cov does, while processes may still be ending.
coverage: setup
	$(BIN)/coverage erase
	status=0; $(BIN)/coverage run -m pytest $(PYTEST_OPTIONS) --timeout 600 $(ARGS) || status=$$?; \
	$(BIN)/coverage combine --quiet && $(BIN)/coverage report --show-missing --skip-covered && exit $$status

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Only pip finds the build of PyTorch that is small.
FRAMEWORKS := $(VENV)/frameworks

$(FRAMEWORKS): $(STAMP) tests/frameworks/requirements.txt
	$(BIN)/python -m pip install --quiet -r tests/frameworks/requirements.txt
	@touch $@

frameworks: $(FRAMEWORKS)
	$(BIN)/pytest -m frameworks --timeout 600 $(ARGS)

# Only pip finds the build of PyTorch that is small.
WAVENET := $(VENV)/wavenet

$(WAVENET): $(STAMP) examples/wavenet/requirements.txt
	$(BIN)/python -m pip install --quiet -r examples/wavenet/requirements.txt
	@touch $@

wavenet: $(WAVENET)
	$(BIN)/python examples/wavenet/experiment.py
	$(BIN)/python examples/wavenet/overhead.py
	$(BIN)/python examples/wavenet/figures.py
	$(BIN)/python examples/wavenet/sample.py examples/wavenet/runs/small/pbt-5x5-0/study.toml -o examples/wavenet/runs/small/sample.wav

wavenet-quick: $(WAVENET)
	$(BIN)/python examples/wavenet/quick.py

bench: setup
	@for file in benchmarks/[!_]*.py; do echo "$$file"; $(BIN)/python "$$file" || exit 1; done

pictures: setup
	$(BIN)/python -m tools.draw_structure

soak: setup
	$(BIN)/pytest -m 'soak or hypothesis' --hypothesis-profile soak --timeout 3600 $(ARGS)

mutants: setup
	$(BIN)/python tests/mutants.py $(ARGS)

clean:
	rm -rf .venv .venv-* build dist .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache examples/*/broodline.*
	find . -name __pycache__ -prune -exec rm -rf {} +
