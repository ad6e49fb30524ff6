"""A sweep and its cluster as YAML."""
