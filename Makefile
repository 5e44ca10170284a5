# Each target does its own set-up; all it needs is Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: run test bench chaos check clean

run: $(VENV)/run
	@exec $(RUN) manage.py up --demo

# Servers and clocks are real, and the machine may be busy: what fails is run once more,
# and both are told. What fails twice has failed.
test: $(VENV)/dev
	@$(RUN) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder \
		--reruns 1 --max-suite-reruns 5 --rerun-show-tracebacks

bench: $(VENV)/dev
	@$(RUN) -m bench

# ROWS=R01,R06 SEED=7 SECONDS_EACH=60 RATE=300 CONTROL=1, each as wanted.
chaos: $(VENV)/dev
	@$(RUN) -m tests.chaos $(if $(ROWS),--rows $(ROWS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(SECONDS_EACH),--seconds $(SECONDS_EACH)) $(if $(RATE),--rate $(RATE)) \
		$(if $(CONTROL),--control)

check: $(VENV)/dev
	@$(RUN) -m ruff format --check .
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy .
	@cd clients/python && ../../$(RUN) -m mypy src
	@$(VENV)/bin/lint-imports
	@GRIDHOOK_SECRET_KEY=check $(RUN) -W ignore manage.py makemigrations --check --dry-run --skip-checks

$(VENV)/run: requirements.txt install
	@PYTHON=$(PYTHON) sh install $(VENV) requirements.txt
	@touch $@

$(VENV)/dev: requirements.txt requirements-dev.txt install
	@PYTHON=$(PYTHON) sh install $(VENV) requirements.txt requirements-dev.txt
	@touch $@ $(VENV)/run

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
