"""Clocks, secrets and tasks, which every layer uses."""
