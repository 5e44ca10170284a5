"""Reading the API's request bodies."""

import json
from collections.abc import Mapping
from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser


class BoundedJSONParser(JSONParser):
    """JSON, nested no deeper than Python reads it, its texts all of characters."""

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """
        Return the decoded body.

        Raises: ParseError.
        """
        try:
            parsed = super().parse(stream, media_type, parser_context)
            # `\ud800` alone is read as one, and then neither stored nor sent.
            json.dumps(parsed, ensure_ascii=False).encode()
        except RecursionError as error:
            raise ParseError("JSON parse error - nested too deeply.") from error
        except UnicodeEncodeError as error:
            half = ascii(error.object[error.start])
            raise ParseError(
                f"JSON parse error - a text has {half}, half a surrogate pair."
            ) from error
        return parsed
