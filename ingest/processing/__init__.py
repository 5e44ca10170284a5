"""
Turning accepted callbacks into readings.

One batch is one transaction: claim, parse, store, mark usage, settle the ledger, write
messages. A crash at any point undoes all of it, and the callbacks are found again.
Source: docs/explanation/usage.md
"""
