# /// script
# requires-python = ">=3.10"
# dependencies = ["llm"]
# ///
import os
import subprocess
import sys
from pathlib import Path

Path("extra-openai-models.yaml").write_text("""
- model_id: tiny
  model_name: openedai-tiny
  api_base: http://127.0.0.1:5001/v1
  supports_tools: true
  supports_schema: true
""")
os.environ["LLM_USER_PATH"] = "."
os.environ["OPENAI_API_KEY"] = "none"
llm = str(Path(sys.executable).with_name("llm"))
subprocess.run([llm, "--model", "tiny", "What can you do?"], check=True)
subprocess.run([llm, "--model", "tiny", "--schema", "count int", "How many?"], check=True)
