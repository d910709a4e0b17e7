# `make reproduce` and `make test` do everything, from a machine that has Python 3.11 and nothing else of ours.
PYTHON ?= python3.11
BIN = .venv/bin

.PHONY: reproduce test test-one export docs env hooks readme pages clean

reproduce: env
	$(BIN)/resvit_reproduce

# the pages of experiments are run by the tests of the site that is made from them
test: env
	OMP_NUM_THREADS=1 $(BIN)/nbdev_test --n_workers 2 --timing --skip_folder_re "^([_.]|experiments$$)"
	$(BIN)/python -m pytest -q -n 2 --dist worksteal tests

env: .venv/installed

.venv/installed: settings.ini setup.py constraints.txt
	@echo 'installing into .venv: about two minutes'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

# git merges notebooks cell by cell, and Jupyter saves them clean
hooks: env
	$(BIN)/nbdev_install_hooks

# one notebook: make test-one NB=21_vit
test-one: env
	OMP_NUM_THREADS=1 $(BIN)/nbdev_test --path nbs/$(NB).ipynb

export: env
	$(BIN)/nbdev_export
	$(BIN)/python -c 'from resvit_nb.commands import write_help; write_help()'
	$(BIN)/nbdev_clean

docs: env
	$(BIN)/resvit_reproduce --profile paper

readme: env
	$(BIN)/resvit_readme

# after records were added: the notebooks that show them, then the README
pages: env
	$(BIN)/resvit_readme --pages

clean:
	rm -rf .venv out
