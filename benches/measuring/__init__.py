"""Shared code of the measuring commands."""
