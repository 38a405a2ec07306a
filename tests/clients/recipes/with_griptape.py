# /// script
# requires-python = ">=3.10"
# dependencies = ["griptape[drivers-prompt-openai]"]
# ///
from griptape.drivers.prompt.openai import OpenAiChatPromptDriver
from griptape.structures import Agent

driver = OpenAiChatPromptDriver(
    model="openedai-tiny", base_url="http://127.0.0.1:5001/v1", api_key="none"
)
print(Agent(prompt_driver=driver).run("What can you do?").output.value)
