// npm: @llamaindex/openai @llamaindex/core @llamaindex/env
import { OpenAI } from "@llamaindex/openai";

const model = new OpenAI({ model: "openedai-tiny", apiKey: "none", baseURL: "http://127.0.0.1:5001/v1" });
console.log((await model.complete({ prompt: "What can you do?" })).text);
