# /// script
# requires-python = ">=3.10"
# dependencies = ["guidance", "openai"]
# ///
import guidance
from guidance import assistant, gen, user

model = guidance.models.OpenAI("openedai-tiny", base_url="http://127.0.0.1:5001/v1", api_key="none")
with user():
    model += "What can you do?"
with assistant():
    model += gen("answer")
print(model["answer"])
