"""
How callbacks' bodies are read: one folder for each format, one table of them.

Source: docs/reference/formats/index.md
"""
