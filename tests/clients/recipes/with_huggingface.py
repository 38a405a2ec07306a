# /// script
# requires-python = ">=3.10"
# dependencies = ["huggingface_hub"]
# ///
from huggingface_hub import InferenceClient

answer = InferenceClient(base_url="http://127.0.0.1:5001/v1", api_key="none").chat_completion(
    [{"role": "user", "content": "What can you do?"}], model="openedai-tiny"
)
print(answer.choices[0].message.content)
