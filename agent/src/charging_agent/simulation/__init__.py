"""Simulation of charging on recorded sessions with a virtual clock: what each policy would have cost."""
