"""Find the jobs of a workspace, to recover it."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add an index."""
    op.create_index("job_by_workspace", "job", ["workspace", "backend", "created_at"])
