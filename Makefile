# Mofang 模坊. Every target sets up .venv by itself (tools/install.sh); ARGS goes to the command it runs.
SHELL := bash
PY := .venv/bin/python
unexport PYTHONDONTWRITEBYTECODE    # without compiled modules torch takes twice as long to import
FLOORS := $(basename $(notdir $(filter-out bench/_%,$(wildcard bench/*.py))))

.DEFAULT_GOAL := help
.PHONY: help install install-cluster demo test test-cluster check bench lock clean

help:  ## these lines
	@grep -hE '^[a-z%-]+:.*  ## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z%-]+):.*  ## (.*)/\1|\2/' | \
	    while IFS='|' read -r name words; do printf '  make %-14s %s\n' "$$name" "$$words"; done

install:  ## set up .venv: training, demo and tests  安装
	@tools/install.sh --profile full

install-cluster:
	@tools/install.sh --profile cluster

demo: install  ## real records become a model that answers a paid request  演示
	@$(PY) -m mofang demo $(ARGS)

test: install  ## the tests, in two processes: under ten minutes on two cores  测试
	$(PY) -m pytest -m "not cluster" -n 2 --dist loadfile --durations=10 $(ARGS)

test-cluster: install-cluster  ## Ray, PostgreSQL, kills, power cuts: under eight minutes  集群测试
	$(PY) -m pytest -m cluster -n 2 --dist loadfile --durations=10 $(ARGS)

check: install  ## ruff, mypy strict, the house's own rules, stages.lock  检查
	@failed=0; for step in "ruff check ." mypy "pytest -q tests/test_tidy.py tests/test_house.py" \
	    "mofang.core.lock --check"; do echo "== $$step"; $(PY) -m $$step || failed=1; done; exit $$failed

bench: install  ## every floor's benchmarks; ARGS=--quick for our own side alone  基准
	@failed=0; for floor in $(FLOORS); do $(PY) bench/$$floor.py $(ARGS) || failed=1; done; exit $$failed

bench-%: install  ## one floor's benchmarks: make bench-serve  单层基准
	@test -f bench/$*.py || { echo "There is no bench/$*.py; there are: $(FLOORS)" >&2; exit 2; }
	@$(PY) bench/$*.py $(ARGS)

lock: install  ## write requirements/ afresh; ARGS=--upgrade for newer versions  重写版本锁
	$(PY) tools/lock.py $(ARGS)

clean:  ## drop .venv and every cache; shops stay  清理
	rm -rf .venv .venv.lock .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	find src tests bench recipes tools -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
