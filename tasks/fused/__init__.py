"""A fused group: trials that are computed together, their problem, their objective and their state."""
