"""The waiting jobs of backends get a table of their own.

Until its workflow writes the next time, a backend seems to have an empty queue.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "waiting",
        sa.Column("backend", sa.Text, primary_key=True),
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("rap_id", sa.Text, nullable=False),
        sa.Column("workspace", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("requires_db", sa.Boolean, nullable=False),
        sa.Column("weight", sa.Float(53), nullable=False),
        sa.Column("since", sa.Float(53), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
    )
