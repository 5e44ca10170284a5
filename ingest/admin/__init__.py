"""The console's pages of what comes in, by subject."""

from ingest.admin import sources

__all__ = ["sources"]
