# /// script
# requires-python = ">=3.10"
# dependencies = ["magentic"]
# ///
from magentic import OpenaiChatModel, prompt


@prompt(
    "What can you do?",
    model=OpenaiChatModel("openedai-tiny", base_url="http://127.0.0.1:5001/v1", api_key="none"),
)
def ask() -> str: ...


print(ask())
