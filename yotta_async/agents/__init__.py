"""Tools for agents, as functions and as an MCP server."""
