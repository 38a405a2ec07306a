# /// script
# requires-python = ">=3.10"
# dependencies = ["aisuite[openai]"]
# ///
import aisuite

client = aisuite.Client({"openai": {"base_url": "http://127.0.0.1:5001/v1", "api_key": "none"}})
answer = client.chat.completions.create(
    model="openai:openedai-tiny", messages=[{"role": "user", "content": "What can you do?"}]
)
print(answer.choices[0].message.content)
