"""Gives WSO2 its policies, APIs, users, applications and keys, and finds out what it has.

The same code serves WSO2 API Manager and the local gateway: same addresses, same payloads.
"""
