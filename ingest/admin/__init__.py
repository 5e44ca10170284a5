"""The console's pages of what comes in, by subject."""

from ingest.admin import callbacks, channels, devices, rejections, sources

__all__ = ["callbacks", "channels", "devices", "rejections", "sources"]
