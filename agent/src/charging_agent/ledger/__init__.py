"""The ledger: every decision a record, chained by hash, signed, and on disk before it is answered.

Written by `recorder` (one record for all who ask while nothing changed), `ledger` (one writer, off the event loop),
`sealing` (makes, chains and signs a record), `keys`, `store` and its `migrations`, `anchor` (the signed head, kept
elsewhere). Read by `reading` (a database or an export), `verification` (is it whole?), `reconciliation` (beside the
gateway's own log) and `replay` (the same decision once more), none of which needs the agent.
"""
