# /// script
# requires-python = ">=3.10"
# dependencies = ["haystack-ai"]
# ///
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage, Document
from haystack.utils import Secret

generator = OpenAIChatGenerator(
    model="openedai-tiny",
    api_base_url="http://127.0.0.1:5001/v1",
    api_key=Secret.from_token("none"),
)
print(generator.run([ChatMessage.from_user("What can you do?")])["replies"][0].text)
where = {
    "model": "openedai-tiny-embeddings",
    "api_base_url": "http://127.0.0.1:5001/v1",
    "api_key": Secret.from_token("none"),
}
one = OpenAITextEmbedder(**where).run("The cat sat.")["embedding"]
texts = [Document(content="A dog ran."), Document(content="The cat sat.")]
embedded = OpenAIDocumentEmbedder(**where, progress_bar=False).run(texts)["documents"]
assert embedded[1].embedding == one
print(len(one))
