"""The console's pages of what comes in, by subject."""

from ingest.admin import callbacks, devices, rejections, sources

__all__ = ["callbacks", "devices", "rejections", "sources"]
