"""The OpenAI Agents SDK with the tools of yotta_async, on the emulator, with a scripted model.

With an API key for a model, give `Agent` a model's name instead of `Scripted()`. Needs `openai-agents`.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from agents import Agent, Model, ModelResponse, Runner, Usage, function_tool, set_tracing_disabled
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

from yotta_async.agents import tools_for
from yotta_async.emulator import Emulator, Timings


class Scripted(Model):
    """A model without a service: it creates a pod, waits for it and deletes it."""

    async def get_response(
        self, system_instructions: str | None, input: Any, *args: Any, **kwargs: Any
    ) -> ModelResponse:
        """Return the next call; the id of the pod is in the results so far."""
        outputs = [item["output"] for item in input if isinstance(item, dict) and "output" in item]
        if not outputs:
            return _call("pod_create", {"image": "ubuntu:24.04", "gpu_type": "NVIDIA_L4_24G", "confirm": True})
        pod_id = str(outputs[0]).split("'pod_id': '")[1].split("'")[0]
        if len(outputs) == 1:
            return _call("pod_wait", {"pod_id": pod_id, "status": "RUNNING", "timeout_s": 60})
        if len(outputs) == 2:
            return _call("pod_delete", {"pod_id": pod_id, "confirm": True})
        text = ResponseOutputText(text=f"pod {pod_id} ran and was deleted", type="output_text", annotations=[])
        message = ResponseOutputMessage(id="1", content=[text], role="assistant", status="completed", type="message")
        return ModelResponse(output=[message], usage=Usage(), response_id=None)

    def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Not used by this program."""
        raise NotImplementedError


def _call(name: str, arguments: dict[str, Any]) -> ModelResponse:
    print(f"{name} {arguments}")
    call = ResponseFunctionToolCall(name=name, arguments=json.dumps(arguments), call_id=name, type="function_call")
    return ModelResponse(output=[call], usage=Usage(), response_id=None)


async def main() -> None:
    """Run the agent: it creates a pod and deletes it."""
    set_tracing_disabled(disabled=True)
    async with Emulator(timings=Timings(initialize=1)) as emulator, emulator.client(poll_interval=0.2) as yotta:
        tools = [function_tool(tool, strict_mode=False) for tool in tools_for(yotta, max_pods=2)]
        agent = Agent(
            name="renter",
            instructions="Delete pods after use.",
            model=Scripted(),
            tools=list(tools),
        )
        result = await Runner.run(agent, "Create a pod with an L4, wait until it runs, and delete it.")
        print(result.final_output)


if __name__ == "__main__":
    asyncio.run(main())
