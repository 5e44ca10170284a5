"""What a line of the log says: nothing that opens anything."""

import logging
import re

#: Keys, links and signing secrets of the platform's own making, by how each begins. The
#: framework logs the path of a request that it refuses, and a link's has its token.
_SECRETS = re.compile(r"(ghk_|ghl_|whsec_)[\w+/=-]+")
_MASK = "•••"


class Formatter(logging.Formatter):
    """The usual lines and tracebacks, with what is secret masked."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return _SECRETS.sub(rf"\1{_MASK}", super().format(record))
