"""Search: Optuna's samplers propose the next points of a sweep, and are told their values."""
