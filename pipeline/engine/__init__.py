"""Engines: where the groups of a plan are computed."""
