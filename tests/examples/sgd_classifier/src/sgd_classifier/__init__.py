"""scikit-learn's SGDClassifier as a task of descent-sweeps: data of its own, no PyTorch."""
