"""Data path: what happens to a call between the client and the backend."""
