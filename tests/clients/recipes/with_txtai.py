# /// script
# requires-python = ">=3.10"
# dependencies = ["txtai", "litellm"]
# ///
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # asks nothing of other sites

from txtai import Embeddings

embeddings = Embeddings(
    path="openai/openedai-tiny-embeddings",
    method="litellm",
    vectors={"api_base": "http://127.0.0.1:5001/v1", "api_key": "none"},
    content=True,
)
texts = ["A dog ran in the park.", "The cat sat on the mat."]
embeddings.index(texts)
(found,) = embeddings.search("The cat sat on the mat.", 1)
assert found["text"] == texts[1] and found["score"] > 0.99
print(found)
