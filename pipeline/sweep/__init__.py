"""The life of a sweep: from its start to its end, or to its resumption."""
