# /// script
# requires-python = ">=3.10"
# dependencies = ["dspy"]
# ///
import dspy

model = dspy.LM("openai/openedai-tiny", api_base="http://127.0.0.1:5001/v1", api_key="none")
print(model("What can you do?"))
