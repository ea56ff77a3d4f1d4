"""The data path: what happens to a call between caller and backend."""
