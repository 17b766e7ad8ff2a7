"""What workflows say to each other, and what the API, the agents and operators say to them.

One argument and one result per signal and update. Each message may arrive twice or late; each
handler is idempotent. Who takes which message is told in :mod:`rap.contracts.workflows`.
"""
