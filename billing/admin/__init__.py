"""The console's billing pages, by subject."""

from billing.admin import catalogue, reports, runs

__all__ = ["catalogue", "reports", "runs"]
