# /// script
# requires-python = ">=3.10"
# dependencies = ["autogen-ext[openai]", "autogen-core"]
# ///
import asyncio

from autogen_core.models import ModelInfo, UserMessage
from autogen_ext.models.openai import OpenAIChatCompletionClient

client = OpenAIChatCompletionClient(
    model="openedai-tiny",
    base_url="http://127.0.0.1:5001/v1",
    api_key="none",
    model_info=ModelInfo(
        function_calling=True,
        json_output=True,
        structured_output=True,
        vision=False,
        family="unknown",
    ),
)
question = UserMessage(content="What can you do?", source="user")
print(asyncio.run(client.create([question])).content)
