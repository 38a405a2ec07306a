# /// script
# requires-python = ">=3.10"
# dependencies = ["langchain-openai"]
# ///
from langchain_openai import ChatOpenAI, OpenAI

chat = ChatOpenAI(base_url="http://127.0.0.1:5001/v1", api_key="none", model="openedai-tiny")
print("".join(str(chunk.content) for chunk in chat.stream("What can you do?")))
responses = ChatOpenAI(
    base_url="http://127.0.0.1:5001/v1",
    api_key="none",
    model="openedai-tiny",
    use_responses_api=True,
)
print(responses.invoke("What can you do?").text)
text = OpenAI(base_url="http://127.0.0.1:5001/v1", api_key="none", model="openedai-tiny")
print(text.invoke("Once upon a time", max_tokens=20))
