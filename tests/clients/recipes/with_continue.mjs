// npm: @continuedev/config-yaml
import * as config from "@continuedev/config-yaml";

console.log(
  config.configYamlSchema.parse({
    name: "local",
    version: "1.0.0",
    schema: "v1",
    models: [
      {
        name: "OpenedAI",
        provider: "openai",
        model: "openedai-tiny",
        apiBase: "http://127.0.0.1:5001/v1",
        apiKey: "none",
        roles: ["chat", "edit", "apply"],
        useLegacyCompletionsEndpoint: true,
      },
      {
        name: "OpenedAI vectors",
        provider: "openai",
        model: "openedai-tiny-embeddings",
        apiBase: "http://127.0.0.1:5001/v1",
        apiKey: "none",
        roles: ["embed"],
        embedOptions: { maxChunkSize: 512, maxBatchSize: 64 },
      },
    ],
  }),
);
