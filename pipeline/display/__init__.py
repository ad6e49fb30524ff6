"""The display: what a person sees of a sweep."""
