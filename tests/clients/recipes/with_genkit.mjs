// npm: genkit @genkit-ai/compat-oai
import { openAICompatible } from "@genkit-ai/compat-oai";
import { genkit } from "genkit";

const local = openAICompatible({ name: "local", apiKey: "none", baseURL: "http://127.0.0.1:5001/v1" });
const ai = genkit({ plugins: [local] });
console.log((await ai.generate({ model: "local/openedai-tiny", prompt: "What can you do?" })).text);
