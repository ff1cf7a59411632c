"""Shared code of `compare`, `soak` and `fill`."""
