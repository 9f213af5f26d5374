# make demo: the main job, offline, ending with a Finnish table.   make test: lint, types, tests.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3

.PHONY: install demo bench bench-cpu bench-gpu test check docs minimum lint clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e '.[local,dev,docs]'
	touch $@

demo: install
	$(BIN)/adaptx train-adapter --lang sv --task anli
	$(BIN)/adaptx eval fi --tasks udpos,panx,tatoeba --limit 1000

lint: install
	$(BIN)/ruff check src tests docs
	$(BIN)/mypy

test: lint
	$(BIN)/pytest -n 2 --dist loadscope -m "not real and not slow"
	$(BIN)/pytest -n 2 --dist loadscope -m "real or slow"

# The gates: what a change must not break by accident, in minutes. `make test` runs them too.
check: lint
	$(BIN)/pytest -q -n 2 --dist loadscope tests/test_layers.py tests/test_gates.py tests/test_gates_help.py tests/test_api.py \
		tests/test_docs.py tests/test_readme.py tests/test_wheel.py \
		tests/test_cli.py::test_commands_and_their_options_are_the_frozen_ones
	@echo "check: ruff, mypy --strict, layers, module cap, commands, registry, docstrings, deprecations, help, manual, wheel: all hold"

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

# The unit tests on the oldest direct dependencies that pyproject.toml allows; downloads them into an environment of its own.
minimum:
	$(PYTHON) -m venv $(VENV)-minimum
	$(VENV)-minimum/bin/pip install --quiet uv
	$(VENV)-minimum/bin/uv pip install --quiet --python $(VENV)-minimum/bin/python --resolution lowest-direct -e '.[local]'
	$(VENV)-minimum/bin/uv pip install --quiet --python $(VENV)-minimum/bin/python pytest pytest-timeout pytest-xdist
	$(VENV)-minimum/bin/pytest -n 2 --dist loadscope -m "not real and not slow"

# Training speed against `adapters` and `peft` with their trainers, in one process; the last line has the ratios.
bench: install
	$(BIN)/python benchmarks/peers.py

# What every method costs on this machine; goes on where it was cut off. See benchmarks/README.md.
#   make bench-cpu DATA=data                    in .venv
#   make bench-gpu WHEELS=wheels DATA=data      on CUDA without a network, in the running Python
# OUT: folder of results. MINUTES: start nothing new after so many. DRY=1: only say what would be measured.
MINUTES ?= 24
COST = PYTHONPATH=src HF_HUB_OFFLINE=1 $(PYTHON) -c "from adaptx.cli import main; main()" bench cost --report \
	$(if $(OUT),--out $(OUT),--under benchmarks/results) $(if $(DATA),--data-root $(DATA)) $(if $(DRY),--dry-run)

bench-cpu: PYTHON = $(BIN)/python
bench-cpu: install
	$(COST) --suite cpu --device cpu --minutes $(MINUTES)

bench-gpu:
	$(if $(WHEELS),$(PYTHON) benchmarks/wheels.py $(WHEELS))
	$(COST) --suite gpu --minutes $(MINUTES) --device $(if $(DRY),auto,cuda)

clean:
	rm -rf $(VENV) $(VENV)-minimum dist build site
