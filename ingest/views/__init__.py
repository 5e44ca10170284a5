"""The ingest part of the REST API."""
