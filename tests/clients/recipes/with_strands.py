# /// script
# requires-python = ">=3.10"
# dependencies = ["strands-agents[openai]"]
# ///
from strands import Agent
from strands.models.openai import OpenAIModel

model = OpenAIModel(
    client_args={"base_url": "http://127.0.0.1:5001/v1", "api_key": "none"},
    model_id="openedai-tiny",
)
print(Agent(model=model, callback_handler=None)("What can you do?"))
