# /// script
# requires-python = ">=3.10"
# dependencies = ["semantic-kernel"]
# ///
import asyncio

from openai import AsyncOpenAI
from semantic_kernel.connectors.ai.open_ai import (
    OpenAIChatCompletion,
    OpenAIChatPromptExecutionSettings,
)
from semantic_kernel.contents import ChatHistory

client = AsyncOpenAI(base_url="http://127.0.0.1:5001/v1", api_key="none")
service = OpenAIChatCompletion(ai_model_id="openedai-tiny", async_client=client)
history = ChatHistory()
history.add_user_message("What can you do?")
settings = OpenAIChatPromptExecutionSettings()
print(asyncio.run(service.get_chat_message_content(history, settings)))
