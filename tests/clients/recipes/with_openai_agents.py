# /// script
# requires-python = ">=3.10"
# dependencies = ["openai-agents"]
# ///
import asyncio

from agents import Agent, OpenAIConversationsSession, OpenAIResponsesModel, Runner, SQLiteSession
from agents.memory import OpenAIResponsesCompactionSession
from openai import AsyncOpenAI

client = AsyncOpenAI(base_url="http://127.0.0.1:5001/v1", api_key="none")
agent = Agent(
    "helper",
    instructions="Answer in one sentence.",
    model=OpenAIResponsesModel("openedai-tiny", client),
)


async def main() -> None:
    # The conversation is kept by the server, ...
    session = OpenAIConversationsSession(openai_client=client)
    print((await Runner.run(agent, "My name is Ann.", session=session)).final_output)
    streamed = Runner.run_streamed(agent, "What is my name?", session=session)
    async for _ in streamed.stream_events():
        pass
    print(streamed.final_output)
    assert len(await session.get_items()) == 4
    # ... by the client, ...
    local = SQLiteSession("ann")
    for question in ("My name is Ann.", "What is my name?"):
        print((await Runner.run(agent, question, session=local)).final_output)
    assert len(await local.get_items()) == 4
    # ... in which the model makes it shorter (the session wants a name like those of OpenAI's models), ...
    shorter = OpenAIResponsesCompactionSession(
        session_id="shorter",
        underlying_session=SQLiteSession("shorter"),
        client=client,
        model="gpt-5",
        compaction_mode="input",
        should_trigger_compaction=lambda context: len(context["compaction_candidate_items"]) > 1,
    )
    for question in ("My name is Ann.", "And I live in Oslo.", "What is my name?"):
        print((await Runner.run(agent, question, session=shorter)).final_output)
    assert "compaction" in [item.get("type") for item in await shorter.get_items()]
    # ... or each response goes on from the one before.
    first = await Runner.run(agent, "My name is Ann.")
    following = await Runner.run(
        agent, "What is my name?", previous_response_id=first.last_response_id
    )
    print(following.final_output)


asyncio.run(main())
