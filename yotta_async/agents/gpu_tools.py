"""The tool that lists GPU types, and where they are available."""

from __future__ import annotations

from yotta_async.agents.failures import explain_errors
from yotta_async.agents.policy import ToolSession
from yotta_async.agents.results import GpuListResult, build_gpu_view


class GpuTools:
    """The tools about GPU types, for one session."""

    def __init__(self, session: ToolSession) -> None:
        self._session = session

    @explain_errors
    async def gpu_list(self, region: str | None = None) -> GpuListResult:
        """List the GPU types that can be rented, and in which regions they are available now.

        Args:
            region: Only types that this region has, such as us-east-1; without it, all.
        """
        offers = await self._session.gpus.list(region=region or None)  # models send empty text for none
        hint = "Call pod_create with a gpu_type, and as region one that available_in names."
        if not any(offer.available_regions for offer in offers):
            hint = "None is available: call again in some minutes" + (", or without region." if region else ".")
        return GpuListResult(gpus=[build_gpu_view(offer) for offer in offers], hint=hint)
