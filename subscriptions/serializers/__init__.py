"""The JSON of the API, by subject."""
