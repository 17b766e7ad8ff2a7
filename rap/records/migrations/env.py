"""How alembic reaches the database: through the connection that the caller locked."""

from alembic import context

from rap.records.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,  # the caller's transaction is around everything
)
context.run_migrations()
