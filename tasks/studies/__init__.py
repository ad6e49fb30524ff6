"""Studies: the tasks of a trial (train, draw a landscape, check a gradient, ...)."""
