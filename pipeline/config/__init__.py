"""The config: its schema, its tables, a trial's identity and setting."""
