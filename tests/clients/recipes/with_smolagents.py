# /// script
# requires-python = ">=3.10"
# dependencies = ["smolagents[openai]"]
# ///
from smolagents import OpenAIServerModel

model = OpenAIServerModel("openedai-tiny", api_base="http://127.0.0.1:5001/v1", api_key="none")
question = {"role": "user", "content": [{"type": "text", "text": "What can you do?"}]}
print(model([question]).content)
