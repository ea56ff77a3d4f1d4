"""Provisioning of WSO2 API Manager: policies, APIs, users, applications and keys; idempotent.

The local gateway is provisioned by the same code, because it has the same addresses and payloads.
"""
