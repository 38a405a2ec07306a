// npm: @huggingface/inference
import { InferenceClient } from "@huggingface/inference";

const endpointUrl = "http://127.0.0.1:5001/v1/chat/completions";
const client = new InferenceClient("none", { endpointUrl });
const answer = await client.chatCompletion({
  model: "openedai-tiny",
  messages: [{ role: "user", content: "What can you do?" }],
});
console.log(answer.choices[0].message.content);
