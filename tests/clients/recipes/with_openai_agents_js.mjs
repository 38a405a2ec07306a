// npm: @openai/agents openai zod
import { Agent, OpenAIChatCompletionsModel, run, setTracingDisabled } from "@openai/agents";
import OpenAI from "openai";

setTracingDisabled(true);
const client = new OpenAI({ baseURL: "http://127.0.0.1:5001/v1", apiKey: "none" });
const model = new OpenAIChatCompletionsModel(client, "openedai-tiny");
console.log((await run(new Agent({ name: "tiny", model }), "What can you do?")).finalOutput);
