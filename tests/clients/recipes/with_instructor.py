# /// script
# requires-python = ">=3.10"
# dependencies = ["instructor"]
# ///
import instructor
from openai import OpenAI
from pydantic import BaseModel


class Answer(BaseModel):
    count: int


client = OpenAI(base_url="http://127.0.0.1:5001/v1", api_key="none")
for mode in (instructor.Mode.JSON_SCHEMA, instructor.Mode.TOOLS):
    print(
        instructor.from_openai(client, mode=mode).chat.completions.create(
            model="openedai-tiny",
            messages=[{"role": "user", "content": "How many?"}],
            response_model=Answer,
        )
    )
