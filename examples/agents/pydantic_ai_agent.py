"""Pydantic AI with the tools of yotta_async, on the emulator, with a scripted model.

With an API key for a model, give `Agent` a model's name instead of the FunctionModel. Needs `pydantic-ai-slim`.
"""

import asyncio
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from yotta_async.agents import tools_for
from yotta_async.emulator import Emulator, Timings


def scripted(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Create a pod, wait for it and delete it; the id of the pod is in the results so far."""
    results: list[Any] = [
        part.content for message in messages for part in message.parts if isinstance(part, ToolReturnPart)
    ]
    if not results:
        step = ToolCallPart("pod_create", {"image": "ubuntu:24.04", "gpu_type": "NVIDIA_L4_24G", "confirm": True})
    elif len(results) == 1:
        step = ToolCallPart("pod_wait", {"pod_id": results[0]["pod_id"], "status": "RUNNING", "timeout_s": 60})
    elif len(results) == 2:
        step = ToolCallPart("pod_delete", {"pod_id": results[0]["pod_id"], "confirm": True})
    else:
        return ModelResponse(parts=[TextPart(f"pod {results[0]['pod_id']} ran and was deleted")])
    print(f"{step.tool_name} {step.args}")
    return ModelResponse(parts=[step])


async def main() -> None:
    """Run the agent: it creates a pod and deletes it."""
    async with Emulator(timings=Timings(initialize=1)) as emulator, emulator.client(poll_interval=0.2) as yotta:
        agent = Agent(FunctionModel(scripted), tools=list(tools_for(yotta, max_pods=2)))
        result = await agent.run("Create a pod with an L4, wait until it runs, and delete it.")
        print(result.output)


if __name__ == "__main__":
    asyncio.run(main())
