# /// script
# requires-python = ">=3.10"
# dependencies = ["langchain-openai"]
# ///
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

chat = ChatOpenAI(base_url="http://127.0.0.1:5001/v1", api_key="none", model="openedai-tiny")
print("".join(str(chunk.content) for chunk in chat.stream("What can you do?")))
responses = ChatOpenAI(
    base_url="http://127.0.0.1:5001/v1",
    api_key="none",
    model="openedai-tiny",
    use_responses_api=True,
)
answer = responses.invoke("What can you do?")
print(answer.text)
print("".join(chunk.text for chunk in responses.stream("What can you do?")))
following = responses.bind(previous_response_id=answer.response_metadata["id"])
print(following.invoke("And what else?").text)
text = OpenAI(base_url="http://127.0.0.1:5001/v1", api_key="none", model="openedai-tiny")
print(text.invoke("Once upon a time", max_tokens=20))
embeddings = OpenAIEmbeddings(
    base_url="http://127.0.0.1:5001/v1",
    api_key="none",
    model="openedai-tiny-embeddings",
    check_embedding_ctx_length=False,
)
one = embeddings.embed_query("The cat sat.")
assert embeddings.embed_documents(["A dog ran.", "The cat sat."])[1] == one
print(len(one))
