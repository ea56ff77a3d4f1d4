"""Charger control: from one decision to the current limit of each car.

`controller` runs a round, `planning` and `sharing` compute limits, `charger_api` reads the chargers and sets limits.
"""
