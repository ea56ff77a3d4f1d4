"""Readings from devices, each message checked before it counts."""
