// npm: promptfoo
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";

writeFileSync("promptfooconfig.yaml", `
prompts: ["What can you do?"]
providers:
  - id: openai:chat:openedai-tiny
    config: {apiBaseUrl: "http://127.0.0.1:5001/v1", apiKey: none}
  - id: openai:completion:openedai-tiny
    config: {apiBaseUrl: "http://127.0.0.1:5001/v1", apiKey: none}
tests:
  - assert: [{type: javascript, value: "output.length > 0"}]
`);
const env = { ...process.env, PROMPTFOO_DISABLE_TELEMETRY: "1", PROMPTFOO_DISABLE_UPDATE: "1" };
const command = ["node_modules/.bin/promptfoo", "eval", "--no-cache", "--no-write", "--no-table"];
console.log(execFileSync("node", command, { env, encoding: "utf8" }));
