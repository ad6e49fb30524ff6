"""Fused groups: trials that are computed together, with one problem, objective and state."""
