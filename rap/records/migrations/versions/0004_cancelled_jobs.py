"""When the user of a job cancelled it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; what was cancelled before and has not ended so is not known."""
    op.add_column("job", sa.Column("cancelled_at", sa.BigInteger))
