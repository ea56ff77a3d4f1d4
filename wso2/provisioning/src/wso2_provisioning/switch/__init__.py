"""Stops the agent's application at the gateway, and lets it go on: the operator's switch.

The same code serves WSO2 API Manager and the local gateway.
"""
