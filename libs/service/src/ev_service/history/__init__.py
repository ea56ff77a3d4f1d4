"""Readings that a service gave before: kept in SQLite or PostgreSQL, answered as means at `GET /history`."""
