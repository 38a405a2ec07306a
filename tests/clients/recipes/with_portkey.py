# /// script
# requires-python = ">=3.10"
# dependencies = ["portkey-ai"]
# ///
from portkey_ai import Portkey

answer = Portkey(base_url="http://127.0.0.1:5001/v1", api_key="none").chat.completions.create(
    model="openedai-tiny", messages=[{"role": "user", "content": "What can you do?"}]
)
print(answer.choices[0].message.content)
