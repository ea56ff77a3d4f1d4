"""Attacks on the running stack: what is tried, what must happen, what happened. `python -m tests.attacks --help`."""
