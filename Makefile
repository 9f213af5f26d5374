# make demo: the main job, offline, ending with a Finnish table.   make test: lint, types, tests.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3

.PHONY: install demo test lint clean

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
	$(BIN)/ruff check src tests
	$(BIN)/mypy

test: lint
	$(BIN)/pytest -n 2 --dist loadscope -m "not real and not slow"
	$(BIN)/pytest -m "real or slow"

clean:
	rm -rf $(VENV) dist build
