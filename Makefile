# `make test` and `make check` need an environment with `pip install ".[dev]"`.
PYTHON ?= python

.PHONY: check test test-fast test-slow docs bench gate

check:  ## the linters
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m mypy --platform win32
	$(PYTHON) -c "from importlinter.cli import lint_imports_command as lint; lint()"
	$(PYTHON) -c "from vermin import main; main()" --quiet --no-tips --eval-annotations --target=3.10- --violations dolg_zoo tools

test:  ## the default tests
	$(PYTHON) -m pytest

test-fast:  ## the tests that need no TensorFlow
	$(PYTHON) -m pytest --fast

test-slow:  ## the tests that the default leaves out
	$(PYTHON) -m pytest -m slow

docs:  ## the pages, into site/; needs the extra docs
	$(PYTHON) -m mkdocs build --strict

bench:  ## how fast the routes are on this machine; needs torch and the extras of the runtimes
	$(PYTHON) tools/benchmark.py inference

gate:  ## all that has to pass before a change lands, on a copy of the last commit
	.ci/run
