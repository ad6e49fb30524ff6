"""Engines: they compute the groups of a plan, in this process or on Ray."""
