// npm: multi-llm-ts
import { igniteEngine, Message } from "multi-llm-ts";

const engine = igniteEngine("openai", { apiKey: "none", baseURL: "http://127.0.0.1:5001/v1" });
const model = engine.buildModel("openedai-tiny");
console.log((await engine.complete(model, [new Message("user", "What can you do?")])).content);
