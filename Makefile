# Every target sets up what it needs: a machine with Python (>= 3.11), pip and git is enough.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test bench lint types contracts shapes tests golden tutorials docs versions clean

demo: .venv/ready
	$(BIN)/pyromix demo

# Two at a time where neither keeps both cores of a small machine busy.
test: .venv/ready
	$(MAKE) --jobs=2 --output-sync=target lint contracts shapes types tutorials
	$(MAKE) tests

bench: .venv/ready
	$(BIN)/pytest tests/benchmarks --benchmark-only -o addopts= -s -p no:xdist

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/pyright

contracts: .venv/ready
	$(BIN)/lint-imports

# Every room once, each call checked against the shapes it declares; elsewhere they go unchecked.
# In one process: to import the library so takes as long as half of the tests.
shapes: .venv/ready
	$(BIN)/pytest tests/shapes -p no:xdist --jaxtyping-packages=pyromix,beartype.beartype

# Neighbouring tests share what a module makes once: each worker takes a run of them.
tests: .venv/ready
	$(BIN)/pytest tests -n 2 --dist worksteal --durations=40 \
		--ignore=tests/test_tutorials.py --ignore=tests/benchmarks --ignore=tests/shapes

# Writes what tests/golden holds anew: look at the difference before you commit it.
golden: .venv/ready
	$(BIN)/pytest tests/test_report.py tests/test_help.py --regenerate

tutorials: .venv/ready
	$(BIN)/pytest tests/test_tutorials.py -n 2

docs: .venv/docs-ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@! grep -rlE '(src|href)="(https?:)?//[^"]*\.(js|css|woff2?)"' site --include='*.html'
	@echo site/index.html

.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	touch $@

.venv/docs-ready: .venv/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group docs
	touch $@

# The lowest and the newest versions that pyproject.toml allows, in throw-away environments.
versions: .venv/ready
	$(BIN)/python tests/studies/versions.py lowest $(TORCH)
	$(BIN)/python tests/studies/versions.py newest $(TORCH)

clean:
	rm -rf .venv dist build site
