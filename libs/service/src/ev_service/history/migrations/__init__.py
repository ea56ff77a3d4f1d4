"""Migrations of the tables of kept readings."""
