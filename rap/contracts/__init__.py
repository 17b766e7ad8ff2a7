"""What is called by name through Temporal: activities, workflows, and the messages to workflows.

A name on the wire stands here and nowhere else. Implementations register under ``contract.name``,
callers send through :mod:`workflows.calls` and :mod:`rap.temporal.messages`, which take a contract
and an argument of its type: a method may be renamed at any time, a name never.
"""
