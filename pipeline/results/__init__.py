"""The results of a sweep so far: standings, settings, statistics and failures."""
