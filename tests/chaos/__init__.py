"""
Faults caused on purpose, row by row, and what must hold through each.

A row (`rows.ROWS`) is one function; it serves the short form in `make test` and the
long one in `make chaos`. Source: docs/explanation/faults.md
"""
