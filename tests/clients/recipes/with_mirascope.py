# /// script
# requires-python = ">=3.10"
# dependencies = ["mirascope[openai]"]
# ///
from mirascope import llm

llm.register_provider(
    "openai:completions",
    scope="openai/",
    base_url="http://127.0.0.1:5001/v1",
    api_key="none",
)
print(llm.model("openai/openedai-tiny").call("What can you do?").text())
