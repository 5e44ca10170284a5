"""Query parameters: dates, times, and what is wrong with them."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from rest_framework.request import Request

from ingest.buckets import day_start
from tenants.problems import Problem

#: Beyond these a time is a mistake, and near the calendar's ends no zone has it.
FIRST_YEAR = 1900
LAST_YEAR = 2200


class ParameterInvalid(Problem):
    """A query parameter cannot be read; the text says which and why."""

    code = "parameter_invalid"
    title = "A parameter is missing or malformed"


def required(request: Request, name: str) -> str:
    """
    Return a parameter's text.

    Raises: ParameterInvalid: it is absent or empty.
    """
    text = request.query_params.get(name, "")
    if not text:
        raise ParameterInvalid(f"{name}: is required.")
    return _storable(name, text)


def optional(request: Request, name: str) -> str | None:
    """
    Return a parameter's text; None: it is absent or empty.

    Raises: ParameterInvalid.
    """
    return _storable(name, request.query_params.get(name, "")) or None


def one_of(
    request: Request, name: str, words: tuple[str, ...], default: str | None
) -> str | None:
    """
    Return a parameter that is one of these words.

    Raises: ParameterInvalid.
    """
    text = request.query_params.get(name) or default
    if text is not None and text not in words:
        raise ParameterInvalid(f"{name}: one of {', '.join(words)}.")
    return text


def moment(request: Request, name: str, zone: ZoneInfo) -> datetime | None:
    """
    Return a date (the local day's begin) or a time with an offset; None: absent.

    Raises: ParameterInvalid.
    """
    # An unescaped plus sign of an offset arrives as a space.
    text = request.query_params.get(name, "").strip().replace(" ", "+")
    return read_moment(name, text, zone) if text else None


def read_moment(name: str, text: str, zone: ZoneInfo) -> datetime:
    """
    Return a date (the local day's begin) or a time with an offset.

    Raises: ParameterInvalid: the text is neither.
    """
    try:
        if len(text) == len("2016-01-01"):
            at = day_start(date.fromisoformat(text), zone)
        else:
            at = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise _not_a_moment(name) from error
    if at.tzinfo is None or not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise _not_a_moment(name)
    # Postgres reads no offset of 16 hours or more.
    return at.astimezone(UTC)


def _not_a_moment(name: str) -> ParameterInvalid:
    return ParameterInvalid(
        f"{name}: a date such as 2016-01-31, or a time with an offset such as "
        f"2016-01-31T00:00:00+01:00, from {FIRST_YEAR} to {LAST_YEAR}."
    )


def _storable(name: str, text: str) -> str:
    if "\0" in text:
        raise ParameterInvalid(f"{name}: U+0000 has no place in a text.")
    return text
