"""Pages for a subscriber's engineer, who has a link to one endpoint and no account."""
