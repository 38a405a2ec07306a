// npm: @instructor-ai/instructor openai@4 zod@3
import Instructor from "@instructor-ai/instructor";
import OpenAI from "openai";
import { z } from "zod";

const openai = new OpenAI({ baseURL: "http://127.0.0.1:5001/v1", apiKey: "none" });
for (const mode of ["TOOLS", "JSON_SCHEMA"]) {
  const client = Instructor({ client: openai, mode });
  const answer = await client.chat.completions.create({
    model: "openedai-tiny",
    messages: [{ role: "user", content: "How many?" }],
    response_model: { schema: z.object({ count: z.number() }), name: "Answer" },
  });
  console.log(answer.count);
}
