"""The plan of a sweep: its trials, their fused groups, and what they cost."""
