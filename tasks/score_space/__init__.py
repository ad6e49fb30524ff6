"""What scores that are linear in the weights allow: fast paths, equal to the general loops."""
