"""Verification of a running WSO2: compares its behaviour with what this repository expects.

Uses applications, an API, a policy and a role of its own, and removes them.
"""
