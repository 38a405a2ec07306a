# /// script
# requires-python = ">=3.10"
# dependencies = ["outlines", "openai"]
# ///
import outlines
from openai import OpenAI
from pydantic import BaseModel


class Answer(BaseModel):
    count: int


client = OpenAI(base_url="http://127.0.0.1:5001/v1", api_key="none")
model = outlines.from_openai(client, "openedai-tiny")
print(model("What can you do?"))
print(Answer.model_validate_json(model("How many?", Answer)))
