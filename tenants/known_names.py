"""Names that nothing here has: each is refused, with the one that may be meant."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.settings import api_settings

#: Of the unknown names of one request, so many are told, each up to here.
_TOLD = 10
_CHARACTERS = 64


def refuse_unknown(
    given: Iterable[object], known: Collection[str], *, what: str
) -> None:
    """
    Refuse names that are not among the known ones; `what` they would be the names of.

    Raises: ValidationError: by name, what is wrong.
    """
    unknown = [str(name)[:_CHARACTERS] for name in given if name not in known]
    if unknown:
        raise ValidationError(
            {name: [_refusal(name, known, what)] for name in unknown[:_TOLD]}
        )


def refuse_unknown_parameters(request: Request, known: Iterable[str]) -> None:
    """
    Refuse a query string that asks by what is not known: unheard, it would get all.

    Raises: ValidationError.
    """
    all_known = {*known, str(api_settings.URL_FORMAT_OVERRIDE)}
    refuse_unknown(request.query_params, all_known, what="parameter")


def _refusal(name: str, known: Collection[str], what: str) -> str:
    meant = get_close_matches(name, known, n=1)
    return f"There is no such {what}{f'; is {meant[0]} meant?' if meant else '.'}"
