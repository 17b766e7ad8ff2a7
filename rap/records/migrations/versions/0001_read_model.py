"""The read model: intents, jobs and backends."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the three tables."""
    op.create_table(
        "intent",
        sa.Column("rap_id", sa.Text, primary_key=True),
        sa.Column("backend", sa.Text, nullable=False),
        sa.Column("workspace", sa.Text, nullable=False),
        sa.Column("repo_url", sa.Text, nullable=False),
        sa.Column("commit", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
    )
    op.create_index("intent_by_state", "intent", ["state", "created_at"])
    op.create_table(
        "job",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("rap_id", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("backend", sa.Text, nullable=False),
        sa.Column("workspace", sa.Text, nullable=False),
        sa.Column("repo_url", sa.Text, nullable=False),
        sa.Column("commit", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("run_command", sa.Text, nullable=False),
        sa.Column("requires_db", sa.Boolean, nullable=False),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("weight", sa.Float(53), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("status_code", sa.Text, nullable=False),
        sa.Column("status_message", sa.Text, nullable=False),
        sa.Column("status_code_updated_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("completed_at", sa.BigInteger),
        sa.Column("trace_context", sa.Text, nullable=False),
        sa.Column("metrics", sa.Text, nullable=False),
        sa.Column("trace_attributes", sa.Text, nullable=False),
        sa.Column("wait_for", sa.Text, nullable=False),
    )
    op.create_index("job_by_rap", "job", ["rap_id", "position"], unique=True)
    op.create_index("job_by_workspace", "job", ["workspace", "backend", "created_at"])
    unfinished = sa.text("completed_at IS NULL")
    op.create_index(
        "job_unfinished", "job", ["backend"], sqlite_where=unfinished, postgresql_where=unfinished
    )
    op.create_table(
        "backend",
        sa.Column("slug", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
