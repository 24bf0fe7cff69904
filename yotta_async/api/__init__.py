"""The API: its endpoints, requests and responses, and the way from JSON to models."""
