# /// script
# requires-python = ">=3.10"
# dependencies = ["pydantic-ai-slim[openai]"]
# ///
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

provider = OpenAIProvider(base_url="http://127.0.0.1:5001/v1", api_key="none")
print(
    Agent(OpenAIChatModel("openedai-tiny", provider=provider)).run_sync("What can you do?").output
)
