"""The catalogue, by the name that it had: subscriptions/catalogue/."""

from subscriptions.catalogue import CATALOGUE, EVERY_TYPE, PATTERNS, patterns_for

__all__ = ["CATALOGUE", "EVERY_TYPE", "PATTERNS", "patterns_for"]
