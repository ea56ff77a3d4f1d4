"""Charger control: from one decision to the current limit of each car.

`controller` reads the chargers, `planning` shares the power (`sharing`), `limit_setter` sets the limits.
"""
