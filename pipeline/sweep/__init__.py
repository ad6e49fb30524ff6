"""The life of a sweep: started, followed to its end, and resumed."""
