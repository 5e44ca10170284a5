"""Writes about sources, callbacks, devices and usage."""
