"""Compares a running WSO2 with what is said of it: what only the product, or its stand-in, can show.

Works with applications, an API, a policy and a role of its own, and removes them. The rooms beside bring WSO2 into a
state; this one only looks.
"""
