"""The read model: a projection for fast and lasting answers, never read by decisions."""
