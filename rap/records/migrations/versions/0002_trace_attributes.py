"""What the spans of a job tell, and the unfinished jobs at hand."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column, and an index of the few jobs that are not over."""
    # Processes of the version before may still insert rows, so the database knows the default.
    op.add_column(
        "job", sa.Column("trace_attributes", sa.Text, nullable=False, server_default="{}")
    )
    unfinished = sa.text("completed_at IS NULL")
    op.create_index(
        "job_unfinished",
        "job",
        ["backend"],
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )
