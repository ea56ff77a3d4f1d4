"""Calls through the API gateway: tokens, call budgets, retries, REST and MCP, and a log of every attempt."""
