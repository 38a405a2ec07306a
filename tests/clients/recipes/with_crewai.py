# /// script
# requires-python = ">=3.10"
# dependencies = ["crewai"]
# ///
from crewai import LLM

model = LLM(model="openai/openedai-tiny", base_url="http://127.0.0.1:5001/v1", api_key="none")
print(model.call("What can you do?"))
