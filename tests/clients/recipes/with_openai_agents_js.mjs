// npm: @openai/agents openai zod
import { Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, run, setTracingDisabled } from "@openai/agents";
import OpenAI from "openai";

setTracingDisabled(true);
const client = new OpenAI({ baseURL: "http://127.0.0.1:5001/v1", apiKey: "none" });
for (const Model of [OpenAIChatCompletionsModel, OpenAIResponsesModel]) {
  const agent = new Agent({ name: "tiny", model: new Model(client, "openedai-tiny") });
  console.log((await run(agent, "What can you do?")).finalOutput);
}
