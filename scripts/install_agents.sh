#!/usr/bin/env bash
# Install the coding agents that tests/agents tries: scripts/install_agents.sh FOLDER
# Needs npm and Python 3.10 to 3.12 (aider). Only npm's registry and PyPI are asked.
set -euo pipefail

folder=${1:?which folder?}
python=${PYTHON:-python3}
mkdir -p "$folder/npm" "$folder/bin"
folder=$(cd "$folder" && pwd)

# qwen-code needs Node 22; where the system has an older one, npm brings it.
major=$(node --version 2>/dev/null | sed -E 's/^v([0-9]+).*/\1/' || echo 0)
node=()
if [ "${major:-0}" -lt 22 ]; then
    kind="node-$(uname -s | tr '[:upper:]' '[:lower:]')-$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')"
    node=("$kind@22")
fi
cd "$folder/npm"
[ -e package.json ] || npm init --yes >/dev/null
if [ ${#node[@]} -gt 0 ]; then
    npm install --no-audit --no-fund "${node[@]}"
    ln -sf "$folder/npm/node_modules/$kind/bin/node" "$folder/bin/node"
fi
PATH="$folder/bin:$PATH" npm install --no-audit --no-fund \
    @qwen-code/qwen-code@0.24.4 opencode-ai@1.18.33 cline@3.0.65 \
    @anthropic-ai/claude-code@2.1.332 @openai/codex@0.171.0
# npm does not run what a package wants to do once it is there; this one fetches nothing.
(cd node_modules/@anthropic-ai/claude-code && node install.cjs)

"$python" -m venv "$folder/aider"
"$folder/aider/bin/pip" install --quiet aider-chat==0.86.2
"$python" -m venv "$folder/sdk"
"$folder/sdk/bin/pip" install --quiet openai-agents==0.24.0
