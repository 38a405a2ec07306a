// npm: @langchain/openai @langchain/core
import { ChatOpenAI } from "@langchain/openai";

const model = new ChatOpenAI({
  model: "openedai-tiny",
  apiKey: "none",
  configuration: { baseURL: "http://127.0.0.1:5001/v1" },
});
console.log((await model.invoke("What can you do?")).content);
const responses = new ChatOpenAI({
  model: "openedai-tiny",
  apiKey: "none",
  useResponsesApi: true,
  configuration: { baseURL: "http://127.0.0.1:5001/v1" },
});
const answer = await responses.invoke("What can you do?");
console.log(answer.text);
for await (const chunk of await responses.stream("What can you do?")) process.stdout.write(chunk.text);
const following = await responses.invoke("And what else?", { previous_response_id: answer.response_metadata.id });
console.log(following.text);
