"""How long each party to a request waits, in seconds.

Each measures by its own clock from when it heard of the request, and tells the next how many
seconds are left: moments of two machines are never compared.

Whoever waits for another gives up a little later than the other does::

    client 25  >  API 24  >  workspace 22  >  git 18

So what fails below is still told to the client in words, and what nobody waits for any more is not
carried out. In another order a client would hear nothing but silence, would send the request again,
and would hear nothing again.
"""

from datetime import timedelta

CLIENT_S = 25.0
"""Clients are promised an answer by then (docs/spec/rap-api.md A6.4); job-server and
``rap run`` go away.
"""

API_S = 24.0
"""The API answers 503 if the outcome is not known by then; one second is left for the way back."""

WORKSPACE_S = 22.0
"""A workspace that has not decided on a create by then answers so: a later answer would be too late
for the API, which may itself have waited to hear of the request."""

WARM_S = 5.0
"""Reading a project that is here already, before it is read by an activity that may fetch."""

SILENCE = timedelta(seconds=4)
"""An activity that a client waits for, and that gives no sign of life for so long, is tried again:
its controller was killed."""

TRIES = 3
"""Of an activity that a client waits for."""

GIT_S = 18.0
"""Each step of git for a create, attempts and waits together. What is left is for reading the
project; and git's own failure is told to the client, which a time limit of Temporal would not be.
"""

GIT_ASKS_S = 8.0
"""Asking a remote for its refs comes first, and must leave time for a fetch."""

OFFERED_AFTER_S = 30.0
"""A create that is still undecided then is offered to its workspace again, by any API process; next
after twice that time, and so on. Nobody waits for its first answer any more."""

OFFERED_EVERY_S = 120.0
"""At the latest."""

OFFERED_FOR_S = 1800.0
"""Then the workspace refuses it for good. Longer than two fetches of the largest repositories."""

BODY_S = 20.0
"""For a request's body to arrive. The other times count from then on: a client that sends slowly is
not the one that waits; but a connection on which nothing comes is not kept for ever."""
