# /// script
# requires-python = ">=3.10"
# dependencies = ["shell-gpt", "click"]
# ///
import os
import subprocess
import sys
from pathlib import Path

os.environ["API_BASE_URL"] = "http://127.0.0.1:5001/v1"
os.environ["OPENAI_API_KEY"] = "none"
sgpt = str(Path(sys.executable).with_name("sgpt"))
subprocess.run([sgpt, "--no-cache", "--model", "openedai-tiny", "What can you do?"], check=True)
