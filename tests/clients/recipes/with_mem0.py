# /// script
# requires-python = ">=3.10"
# dependencies = ["mem0ai"]
# ///
from mem0.configs.llms.openai import OpenAIConfig
from mem0.llms.openai import OpenAILLM

config = OpenAIConfig(
    model="openedai-tiny", openai_base_url="http://127.0.0.1:5001/v1", api_key="none"
)
print(OpenAILLM(config).generate_response([{"role": "user", "content": "What can you do?"}]))
