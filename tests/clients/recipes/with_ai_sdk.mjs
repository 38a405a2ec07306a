// npm: ai @ai-sdk/openai @ai-sdk/openai-compatible
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";

const baseURL = "http://127.0.0.1:5001/v1";
const compatible = createOpenAICompatible({ name: "openedai", baseURL, supportsStructuredOutputs: true });
console.log((await generateText({ model: compatible("openedai-tiny"), prompt: "What can you do?" })).text);
const provider = createOpenAI({ baseURL, apiKey: "none" });
const stream = streamText({ model: provider.chat("openedai-tiny"), prompt: "What can you do?" });
for await (const text of stream.textStream) process.stdout.write(text);
// Over Responses:
const answer = await generateText({ model: provider("openedai-tiny"), prompt: "What can you do?" });
console.log(answer.text);
const previousResponseId = answer.providerMetadata.openai.responseId;
const following = streamText({
  model: provider("openedai-tiny"),
  prompt: "And what else?",
  providerOptions: { openai: { previousResponseId } },
});
for await (const text of following.textStream) process.stdout.write(text);
