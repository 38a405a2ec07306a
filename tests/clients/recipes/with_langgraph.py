# /// script
# requires-python = ">=3.10"
# dependencies = ["langgraph", "langchain-openai"]
# ///
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

model = ChatOpenAI(base_url="http://127.0.0.1:5001/v1", api_key="none", model="openedai-tiny")
graph = StateGraph(MessagesState)
graph.add_node("answer", lambda state: {"messages": model.invoke(state["messages"])})
graph.add_edge(START, "answer")
question = {"messages": [{"role": "user", "content": "What can you do?"}]}
print(graph.compile().invoke(question)["messages"][-1].content)
