"""How the ledger's table came to be, step by step (Alembic); run whenever a ledger is opened."""
