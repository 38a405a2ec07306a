# /// script
# requires-python = ">=3.10"
# dependencies = ["litellm"]
# ///
import litellm

answer = litellm.completion(
    model="openai/openedai-tiny",
    api_base="http://127.0.0.1:5001/v1",
    api_key="none",
    messages=[{"role": "user", "content": "What can you do?"}],
)
print(answer.choices[0].message.content)
