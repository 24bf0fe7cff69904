"""LangChain with the tools of yotta_async, on the emulator, with a scripted model.

With an API key for a model, give `create_agent` a model's name instead of `Scripted()`. Needs `langchain`.
"""

import asyncio
import json
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import StructuredTool

from yotta_async.agents import tools_for
from yotta_async.emulator import Emulator, Timings


class Scripted(BaseChatModel):
    """A model without a service: it creates a pod, waits for it and deletes it."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        """Return the model itself: its script knows the tools."""
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        results = [json.loads(str(message.content)) for message in messages if isinstance(message, ToolMessage)]
        if not results:
            step = _call("pod_create", {"image": "ubuntu:24.04", "gpu_type": "NVIDIA_L4_24G", "confirm": True})
        elif len(results) == 1:
            step = _call("pod_wait", {"pod_id": results[0]["pod_id"], "status": "RUNNING", "timeout_s": 60})
        elif len(results) == 2:
            step = _call("pod_delete", {"pod_id": results[0]["pod_id"], "confirm": True})
        else:
            step = AIMessage(f"pod {results[0]['pod_id']} ran and was deleted")
        return ChatResult(generations=[ChatGeneration(message=step)])

    @property
    def _llm_type(self) -> str:
        return "scripted"


def _call(name: str, arguments: dict[str, Any]) -> AIMessage:
    print(f"{name} {arguments}")
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": name, "type": "tool_call"}])


async def main() -> None:
    """Run the agent: it creates a pod and deletes it."""
    async with Emulator(timings=Timings(initialize=1)) as emulator, emulator.client(poll_interval=0.2) as yotta:
        tools = [
            StructuredTool.from_function(coroutine=tool, parse_docstring=True) for tool in tools_for(yotta, max_pods=2)
        ]
        agent = create_agent(Scripted(), tools)
        result = await agent.ainvoke(
            {"messages": [{"role": "user", "content": "Create a pod with an L4, wait until it runs, and delete it."}]}
        )
        print(result["messages"][-1].content)


if __name__ == "__main__":
    asyncio.run(main())
