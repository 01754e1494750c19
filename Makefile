# The two commands:  make demo   and   make test
# Each sets up all it needs in $(VENV), from Python 3.11, 3.12 or 3.13 and make alone.

VENV ?= .venv
RUN := $(VENV)/bin/python
SUPPORTED := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python; do \
	"$$name" -c '$(SUPPORTED)' >/dev/null 2>&1 && echo "$$name" && break; done)

# make demo AUDIO=DIR|tracks.csv [LABEL=genre] [GROUP=artist] [MODEL=black_box] [RECIPE=modern] [FOLDS=5] [FRESH=1]
# make cross-validation, with the same but MODEL, and [MODELS=all] [SEEDS=3] [EPOCHS=60]
# make comparison, with AUDIO, LABEL, GROUP, FOLDS, FRESH, MODELS, SEEDS, EPOCHS, and
#     [AUGMENTED=cnn,black_box] [LEAVE_OUT=list of tracks]
AUDIO ?=
LABEL ?=
GROUP ?=
MODEL ?= black_box
MODELS ?= all
AUGMENTED ?= cnn,black_box
PRETRAINED := $(filter musicnn,$(MODEL))
RECIPE ?= $(if $(PRETRAINED),probe,modern)
SEEDS ?= 1
EPOCHS ?=
LEAVE_OUT ?=
FOLDS ?= 5
FRESH ?=
NAME := $(if $(AUDIO),$(shell printf '%s' '$(AUDIO)' | sed 's/[^A-Za-z0-9]\{1,\}/_/g; s/^_//; s/_$$//'),synthetic)
DEMO := demo/$(NAME)
# The pretrained model hears other spectrograms than all the others.
DATA := $(DEMO)/tfrecords$(if $(PRETRAINED),_musicnn)
AGAIN := $(if $(AUDIO), AUDIO='$(AUDIO)')$(if $(LABEL), LABEL='$(LABEL)')$(if $(GROUP), GROUP='$(GROUP)')$(if \
	$(filter-out 5,$(FOLDS)), FOLDS=$(FOLDS))
MUSIC := $(if $(AUDIO),$(AUDIO),$(DEMO)/audio)

.PHONY: help demo cross-validation comparison data test test-slow test-engines lint docs docs-serve docs-pictures clean
.DEFAULT_GOAL := help

help:
	@echo "make demo                  a set of synthetic music -> TFRecords -> a trained model -> a report, in minutes"
	@echo "make demo AUDIO=DIR        the same on your music, one folder per genre"
	@echo "make demo AUDIO=tracks.csv LABEL=genre GROUP=artist    the same from a list with the columns path, genre, artist"
	@echo "          MODEL=black_box|time|frequency|time_frequency|time_frequency_init|cnn   RECIPE=modern|cbmi2016|augmented   FOLDS=5"
	@echo "          MODEL=musicnn   a network with published weights, which are installed: the most accurate on real music"
	@echo "          FRESH=1 to start over where a demo of other data was kept"
	@echo "make cross-validation      every fold tested on, the same variables but MODEL, and: MODELS=all   SEEDS=1   EPOCHS=(the recipe's)"
	@echo "make comparison            MODELS by modern and AUGMENTED by the newer recipe in one table and a picture; the same"
	@echo "                           variables but RECIPE, and: AUGMENTED=cnn,black_box   LEAVE_OUT=FILE"
	@echo "make test                  the tests"
	@echo "make test-slow             the tests that take minutes"
	@echo "make test-engines          the job on Prism and Flink, where Go, Java and Maven are there, and all on emulated stores"
	@echo "make lint                  style and types"
	@echo "make docs                  the documentation, from nothing, in build/site; runs its tutorials"
	@echo "make docs-serve            shows it on this machine"
	@echo "make clean                 removes the environment and the demos"

$(VENV)/installed: setup.py beam_preprocess/requirements.txt constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11, 3.12 or 3.13 with venv found; install one, or name it: make PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

# Without its own requirements, old libraries that its files do not need.
$(VENV)/installed-musicnn: $(VENV)/installed
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps musicnn==0.1.0
	@touch $@

data: $(VENV)/installed $(if $(PRETRAINED),$(VENV)/installed-musicnn)
ifeq ($(AUDIO),)
	$(RUN) -m beam_preprocess.synthesize --output=$(DEMO)/audio
endif
	$(RUN) -m beam_preprocess --input='$(MUSIC)' --output=$(DATA) --folds=$(FOLDS) $(if $(PRETRAINED),--preset=musicnn) \
		$(if $(LABEL),--label_column='$(LABEL)') $(if $(GROUP),--group_column='$(GROUP)') $(if $(FRESH),--overwrite)

demo: data
	$(RUN) -m trainer.train --data_dir=$(DATA) --job_dir=$(DEMO)/$(MODEL) --model=$(MODEL) --recipe=$(RECIPE) --overwrite
	$(RUN) -m trainer.evaluate --job_dir=$(DEMO)/$(MODEL)
	@echo
	@echo "Open the report in a browser; compare with the rhythm model:  make demo MODEL=time$(AGAIN)"
	@echo "More accurate on real music, and slower to train:  make demo MODEL=cnn RECIPE=augmented$(AGAIN)"
	@echo "With published weights, the most accurate:  make demo MODEL=musicnn$(AGAIN)"
	@echo "Play it a song:      $(RUN) -m trainer.listen --job_dir=$(DEMO)/$(MODEL)"
	@echo "Look at the data:    $(RUN) -m tfrecords show $(DATA) --png=grid.png"
	@echo "Your own music:      make demo AUDIO=path/to/music          one folder per genre, as in your copy of GTZAN"
	@echo "A list of tracks:    make demo AUDIO=tracks.csv LABEL=genre GROUP=artist"
	@echo "Every fold tested:   make cross-validation$(AGAIN)"

cross-validation: data
	$(RUN) -m trainer.cross_validate --data_dir=$(DATA) --job_dir=$(DEMO)/cross_validation_$(RECIPE) --model=$(MODELS) \
		--seeds=$(SEEDS) --recipe=$(RECIPE) $(if $(EPOCHS),--epochs=$(EPOCHS)) $(if $(FRESH),--overwrite)

comma := ,
# Those of the names that are in a list with commas, or all of them where it says so.
among = $(if $(filter all,$(2)),$(1),$(filter $(1),$(subst $(comma), ,$(2))))

# MODELS as they are usually trained, and AUGMENTED by the newer recipe.
comparison: data
	$(RUN) -m trainer.cross_validate --data_dir=$(DATA) --job_dir=$(DEMO)/cross_validation_modern --model=$(MODELS) \
		--seeds=$(SEEDS) --recipe=modern $(if $(EPOCHS),--epochs=$(EPOCHS)) $(if $(FRESH),--overwrite)
	$(RUN) -m trainer.cross_validate --data_dir=$(DATA) --job_dir=$(DEMO)/cross_validation_augmented \
		--model=$(AUGMENTED) --seeds=$(SEEDS) --recipe=augmented $(if $(EPOCHS),--epochs=$(EPOCHS)) $(if $(FRESH),--overwrite)
	$(RUN) -m trainer.compare --job_dirs=$(DEMO)/cross_validation_modern,$(DEMO)/cross_validation_augmented \
		--output_dir=$(DEMO)/comparison $(if $(LEAVE_OUT),--leave_out='$(LEAVE_OUT)') \
		$(foreach name,$(call among,black_box cnn,$(MODELS)),--against='$(name), modern') $(foreach name,$(call among,cnn,$(AUGMENTED)),--against='$(name), augmented')

test: $(VENV)/installed-test
	$(RUN) -m pytest -m 'not slow' --numprocesses=2 --dist=worksteal

test-slow: $(VENV)/installed-test
	$(RUN) -m pytest -m slow --numprocesses=2 --dist=worksteal

test-engines: $(VENV)/installed-test
	$(RUN) -m tools.engines --clips=200 --seconds=20 --num_shards=20
	$(RUN) -m tools.stores --stores=s3

lint: $(VENV)/installed-test
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

docs: $(VENV)/installed-test
	rm -rf build/docs build/site
	$(RUN) -m tools.docs_pages
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

docs-serve: $(VENV)/installed-test
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs serve

# The pictures that the repository keeps; after make docs, where Chromium is installed.
docs-pictures: $(VENV)/installed-test
	$(RUN) -m tools.docs_pictures

clean:
	rm -rf $(VENV) demo *.egg-info
