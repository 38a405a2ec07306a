# /// script
# requires-python = ">=3.10"
# dependencies = ["agno", "openai"]
# ///
from agno.agent import Agent
from agno.models.openai.like import OpenAILike

model = OpenAILike(id="openedai-tiny", base_url="http://127.0.0.1:5001/v1", api_key="none")
print(Agent(model=model, telemetry=False).run("What can you do?").content)
