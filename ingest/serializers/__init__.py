"""The shapes of the ingest part of the REST API."""
