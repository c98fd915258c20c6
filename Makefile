PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test test-slow test-pytorch3d check results-lock same-results format clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: install
	$(BIN)/pegasus demo

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.results.lock check

# After raising a version of results in schemas/manifests.py.
results-lock: install
	$(BIN)/python -m tests.results.lock renew

# After a change of the source that leaves results as they are: shows it on a tiny run, and renews the lock.
same-results: install
	$(BIN)/python -m tests.results.lock same

test: check
	$(BIN)/pytest --durations=10

test-slow: install
	$(BIN)/pytest -m slow --durations=10 --timeout 1800

test-pytorch3d:
	test -x .venv-pytorch3d/bin/python || $(PYTHON) -m venv .venv-pytorch3d
	.venv-pytorch3d/bin/pip install --quiet -c constraints-pytorch3d.txt -e '.[dev,pytorch3d]'
	.venv-pytorch3d/bin/pytest tests/render

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-pytorch3d build dist *.egg-info
