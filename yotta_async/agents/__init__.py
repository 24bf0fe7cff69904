"""Tools that let an agent rent GPU pods: as functions here, as an MCP server in `yotta_async.agents.mcp_server`."""

from yotta_async.agents.failures import ToolFailedError
from yotta_async.agents.tools import tools_for

__all__ = ["ToolFailedError", "tools_for"]
