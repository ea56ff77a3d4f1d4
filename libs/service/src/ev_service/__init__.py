"""What every service shares: one clock, units, wire models, errors, logs and the service factory.

Imports no other room of this project.
"""
