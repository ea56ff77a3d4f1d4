"""The whole stack as processes on loopback: what `make demo` and `make run` start.

Starts, watches and stops processes; decides nothing about charging.
"""
