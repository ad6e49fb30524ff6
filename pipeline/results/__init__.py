"""What a sweep has found so far: where each trial stands, and what failed."""
