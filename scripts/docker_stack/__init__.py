"""The stack in Docker, and operator commands on whichever stack runs on this machine.

Standard library only, for any Python from 3.8 on: it needs no `.venv`, and installs nothing before an order is carried
out.
"""
