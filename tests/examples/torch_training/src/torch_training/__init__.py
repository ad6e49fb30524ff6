"""A PyTorch training loop as a task of descent-sweeps."""
