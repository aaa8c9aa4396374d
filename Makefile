# run: the answer on the sample · test: all tests · check: lint, types, generated files · bench: speed ·
# docs: generated documents. Each does its own set-up, and is quiet when there is nothing to do.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
# The modules of tests with a test that is marked `house`: to import all others takes longer than to run these.
HOUSE = $(shell grep -l 'mark\.house' tests/test_*.py)
INSTALLED := .venv/.installed
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

.PHONY: run test test-fast check format bench shots soak mutate docs lock rig

run: $(INSTALLED)
	@$(BIN)/maillag run data/sample --lake data/lake

test: $(INSTALLED)
	@$(BIN)/pytest -q -n 2 --dist loadfile

test-fast: $(INSTALLED)
	@$(BIN)/pytest -q -m "not slow"

check: $(INSTALLED)
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports >/dev/null || $(BIN)/lint-imports
	@found=$$($(BIN)/pytest -q -m house --tb=short -rN $(HOUSE) 2>&1) || { echo "$$found"; exit 1; }
	@$(BIN)/sqlfluff lint -q sql
	@$(BIN)/python -m transforms.contracts.dictionary --check
	@echo "check: all clean"

format: $(INSTALLED)
	@$(BIN)/ruff check -q --fix .
	@$(BIN)/ruff format -q .

# Writes docs/performance.md, in an hour; Debian's programs are what maillag is measured beside.
bench: $(INSTALLED)
	@type igzip pflogsumm >/dev/null 2>&1 || { echo "installing isal and pflogsumm"; \
	  apt-get -qq update && apt-get -qq install -y --no-install-recommends isal pflogsumm >/dev/null; }
	@$(BIN)/python -m tests.bench
	@for what in marts night year fleet scaling what_if; do $(BIN)/python -m tests.$${what}_bench || exit; done

# Pictures of the page, to look at: data/shots; three small ones for docs/.
shots: run
	@type chromium >/dev/null 2>&1 && fc-list | grep -q CJK || { echo "installing chromium and fonts-noto-cjk"; \
	  apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium fonts-noto-cjk >/dev/null; }
	@$(BIN)/python -m tests.report_shots data/lake data/shots

# Sixty nights of twenty hosts, with kills and readers; half an hour.
soak: $(INSTALLED)
	@$(BIN)/python -m tests.soak

# Changes rules one at a time and says which changes no test notices; COUNT=0 tries them all, in hours.
COUNT ?= 400
SEED ?= 1
mutate: $(INSTALLED)
	@$(BIN)/python -m tests.mutate --count $(COUNT) --seed $(SEED)

docs: $(INSTALLED)
	@$(BIN)/python -m transforms.contracts.dictionary
	@$(BIN)/python -m tests.cookbook
	@$(BIN)/python -m tests.rig.results
	@$(BIN)/python -m tests.rig.grid

# Records all scenarios of tests/rig on a real Postfix, in twenty minutes; needs root.
rig: $(INSTALLED)
	@dpkg -s postfix rsyslog libfaketime >/dev/null 2>&1 || { echo "installing postfix, rsyslog and libfaketime"; \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
	  postfix rsyslog libfaketime >/dev/null; }
	@$(BIN)/python -m tests.rig --out data/rig

# After a change of dependencies in pyproject.toml.
lock: $(INSTALLED)
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --extra dev -o requirements.lock pyproject.toml

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -m venv --help >/dev/null && $(PYTHON) -m ensurepip --version >/dev/null 2>&1 || \
	  { echo "installing python3-venv"; apt-get -qq update && apt-get -qq install -y python3-venv >/dev/null; }
	@test -x $(BIN)/python || { echo "making .venv"; $(PYTHON) -m venv .venv; }
	@echo "installing the locked dependencies into .venv"
	@grep -A1000 '^uv==' requirements.lock | awk 'NR==1 || /^    --hash/ {print; next} {exit}' > .venv/uv.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r .venv/uv.lock
	@VIRTUAL_ENV=.venv $(BIN)/uv pip sync -q --require-hashes --compile-bytecode requirements.lock
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install -q --no-deps --no-build-isolation --offline -e .
	@$(BIN)/python -m compileall -q flows transforms  # halves every start where Python may not write byte code
	@touch $@
