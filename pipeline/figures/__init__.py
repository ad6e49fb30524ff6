"""The figures of trials, sweeps and searches, as PNG. Matplotlib is imported by the modules that draw, and not here."""
