// npm: @ax-llm/ax
import { ai } from "@ax-llm/ax";

const model = ai({
  name: "openai",
  apiKey: "none",
  apiURL: "http://127.0.0.1:5001/v1",
  config: { model: "openedai-tiny", stream: false },
});
const answer = await model.chat({ chatPrompt: [{ role: "user", content: "What can you do?" }] });
console.log(answer.results[0].content);
