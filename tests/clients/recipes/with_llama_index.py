# /// script
# requires-python = ">=3.10"
# dependencies = ["llama-index-llms-openai-like", "llama-index-embeddings-openai-like"]
# ///
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike

model = OpenAILike(
    model="openedai-tiny",
    api_base="http://127.0.0.1:5001/v1",
    api_key="none",
    is_chat_model=True,
    is_function_calling_model=True,
)
print(model.complete("What can you do?"))
embeddings = OpenAILikeEmbedding(
    model_name="openedai-tiny-embeddings",
    api_base="http://127.0.0.1:5001/v1",
    api_key="none",
)
one = embeddings.get_text_embedding("The cat sat.")
assert embeddings.get_text_embedding_batch(["A dog ran.", "The cat sat."])[1] == one
print(len(one))
