# /// script
# requires-python = ">=3.10"
# dependencies = ["lm-eval[api]", "transformers"]
# ///
import json
import os
import subprocess
import sys
from pathlib import Path

Path("data.json").write_text(json.dumps([{"question": "What can you do?", "answer": "tiny"}]))
Path("local.yaml").write_text("""
task: local
dataset_path: json
dataset_kwargs: {data_files: {test: data.json}}
test_split: test
output_type: generate_until
generation_kwargs: {until: ["END"], max_gen_toks: 64}
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: exact_match}]
""")
Path("likelihood.yaml").write_text("""
task: likelihood
dataset_path: json
dataset_kwargs: {data_files: {test: data.json}}
test_split: test
output_type: loglikelihood
doc_to_text: "{{question}}"
doc_to_target: " {{answer}}"
""")
lm_eval = [str(Path(sys.executable).with_name("lm_eval")), "--include_path", "."]
completions = "http://127.0.0.1:5001/v1/completions"
tokenizer = os.environ.get("TOKENIZER", "models/openedai-tiny")
given = f"model=openedai-tiny,base_url={completions},tokenizer={tokenizer}"
subprocess.run(
    [*lm_eval, "--tasks", "likelihood", "--model", "local-completions", "--model_args", given],
    check=True,
)
base = "model=openedai-tiny,tokenizer_backend=None,tokenized_requests=False"
for kind, address, more in (
    ("local-completions", completions, []),
    (
        "local-chat-completions",
        "http://127.0.0.1:5001/v1/chat/completions",
        ["--apply_chat_template"],
    ),
):
    given = f"{base},base_url={address}"
    subprocess.run(
        [*lm_eval, "--tasks", "local", "--model", kind, "--model_args", given, *more], check=True
    )
