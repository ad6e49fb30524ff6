"""Studies: what a trial can be asked to do."""
