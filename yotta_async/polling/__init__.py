"""One poll for all: the poller, its strategy and schedule, and the waits that subscribe to it."""
