"""Reads about billing, by subject."""
