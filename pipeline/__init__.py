"""The world outside the mathematics: command line, plan, Ray, MLflow, provenance, pictures."""
