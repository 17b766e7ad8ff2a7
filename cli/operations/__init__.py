"""What commands know, decide and order.

These modules import what they need at their tops; the commands import them when they are called.
"""
