// npm: @langchain/openai @langchain/core
import { ChatOpenAI } from "@langchain/openai";

const model = new ChatOpenAI({
  model: "openedai-tiny",
  apiKey: "none",
  configuration: { baseURL: "http://127.0.0.1:5001/v1" },
});
console.log((await model.invoke("What can you do?")).content);
