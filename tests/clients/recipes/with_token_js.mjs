// npm: token.js
import { TokenJS } from "token.js";

const answer = await new TokenJS({ baseURL: "http://127.0.0.1:5001/v1", apiKey: "none" }).chat.completions.create({
  provider: "openai-compatible",
  model: "openedai-tiny",
  messages: [{ role: "user", content: "What can you do?" }],
});
console.log(answer.choices[0].message.content);
