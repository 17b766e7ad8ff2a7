"""The workflows together in one world without a server: every order of events can be tried there.

``execution`` runs the workflows' own code in the SDK's own workflow instance. ``server`` stands in
for Temporal: what is sent, started and scheduled is carried out one by one in an order drawn from a
seed (``steps``, ``activities``), and time passes only when it is told to. ``stand_ins`` has what
workflows ask of the outside, ``story`` what clients and operators do, ``checks`` what is asked at
the end.
"""
