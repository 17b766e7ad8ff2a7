"""Creates that are offered again: the request, how often, and when."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; creates of before cannot be offered again, and are given up in time."""
    for column in (
        sa.Column("number", sa.Integer, nullable=False, server_default="0"),
        sa.Column("request", sa.Text, nullable=False, server_default=""),
        sa.Column("offers", sa.Integer, nullable=False, server_default="0"),
        sa.Column("offered_at", sa.Float(53), nullable=False, server_default="0"),
    ):
        op.add_column("intent", column)
