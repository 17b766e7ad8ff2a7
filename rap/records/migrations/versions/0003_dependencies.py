"""What a job waits for, so that its readers can be told."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column."""
    # Processes of the version before may still insert rows, so the database knows the default.
    op.add_column("job", sa.Column("wait_for", sa.Text, nullable=False, server_default="[]"))
