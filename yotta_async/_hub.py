"""Where waiters get to know how a pod is."""

from __future__ import annotations

import math

from yotta_async._endpoints import Endpoints
from yotta_async.models import Pod


class Hub:
    """One client's source of looks at pods; each asks for its own pod."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints

    async def look(self, pod_id: str, *, seconds: float = math.inf) -> Pod:
        """Return the pod by an answer to a request that starts now; raise what the one attempt raises."""
        return await self._endpoints.get_once(pod_id, seconds=seconds)
