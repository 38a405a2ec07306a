# /// script
# requires-python = ">=3.10"
# dependencies = ["inspect-ai", "openai"]
# ///
import os
import subprocess
import sys
from pathlib import Path

Path("task.py").write_text("""
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes


@task
def question():
    return Task(dataset=[Sample(input="What can you do?", target="tiny")], scorer=includes())
""")
os.environ["LOCAL_BASE_URL"] = "http://127.0.0.1:5001/v1"
os.environ["LOCAL_API_KEY"] = "none"
command = ["eval", "task.py", "--model", "openai-api/local/openedai-tiny", "--display", "plain"]
subprocess.run([str(Path(sys.executable).with_name("inspect")), *command], check=True)
