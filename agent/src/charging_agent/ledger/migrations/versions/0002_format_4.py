"""Records of format 4 may follow; the table stays as it is.

The revision keeps an agent that cannot read them from continuing this ledger.
"""

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change nothing: records are signed, so none is rewritten."""


def downgrade() -> None:
    """Refuse: records of format 4 cannot be turned into older ones."""
    raise NotImplementedError("records are kept; restore a copy instead")
