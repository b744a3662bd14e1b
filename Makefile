# make demo: everything from nothing to pictures. make test: the suite. See README.md.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: setup demo demo-stamps demo-maskrcnn test lint format clean

setup: $(STAMP)

$(STAMP): constraints.txt requirements-detectron2.txt setup.py tools/install_detectron2.py \
		mask2former_mt/ops/toolchain.py $(wildcard mask2former_mt/ops/csrc/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "error: Python 3.10 or newer is needed; set PYTHON=python3.x" >&2; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) || \
		{ echo "error: no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PY) -m pip install -q -c constraints.txt "setuptools<81" wheel
	$(PY) -m pip install -c constraints.txt torch torchvision
	$(PY) tools/install_detectron2.py
	$(PY) -m pip install -c constraints.txt --no-build-isolation -e ".[detectron2,timm,demo,test]"
	@touch $@

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(STAMP)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

test: $(STAMP)
	$(PY) -m pytest -q

demo: $(STAMP)
	$(PY) datasets/prepare_digits.py
	$(PY) tools/demo.py --config-file configs/digits.yaml --pictures 12

demo-stamps: $(STAMP)
	$(PY) datasets/prepare_stamps.py
	$(PY) tools/demo.py --config-file configs/stamps.yaml --pictures 12

demo-maskrcnn: $(STAMP)
	$(PY) datasets/prepare_digits.py
	$(PY) tools/demo.py --config-file configs/digits_maskrcnn.yaml --pictures 12

clean:
	rm -rf output datasets/digits datasets/stamps
