"""The config of a trial: its schema, its identity, and which of its settings are swept."""
