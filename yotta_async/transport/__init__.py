"""The network: connections, one attempt at a request, retries and rate limits."""
