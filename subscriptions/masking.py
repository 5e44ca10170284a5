"""Secrets are left out of what a receiver answers: it may repeat what it was sent."""

import json
from collections.abc import Iterable, Sequence

#: What stands for a value that is not shown.
MASK = "•••"
#: A shorter secret is found in any text, and hides nothing.
_LEAST_HIDDEN = 4


def forms_of(values: Iterable[str]) -> tuple[str, ...]:
    """
    Return what an answer may have of these values, the longest first.

    Each whole and each of its words (`Basic`, and what follows it), as they are and as
    they stand in JSON.
    """
    words = {word for value in values for word in (value, *value.split())}
    in_json = {json.dumps(word)[1:-1] for word in words}
    forms = {*words, *in_json, *(word.replace("/", r"\/") for word in in_json)}
    kept = (form for form in forms if len(form) >= _LEAST_HIDDEN)
    return tuple(sorted(kept, key=lambda form: (-len(form), form)))


def hidden(text: str, forms: Sequence[str]) -> str:
    """Return the text with the mask in place of each form, a cut off one at its end."""
    for form in forms:
        text = text.replace(form, MASK)
    cuts = [at for form in forms if (at := _cut_off_at(text, form)) >= 0]
    return text[: min(cuts)] + MASK if cuts else text


def hidden_bytes(data: bytes, forms: Sequence[str]) -> bytes:
    """Return the same of bytes, which may be no text."""
    if not forms:
        return data
    # What is no UTF-8 comes out as it went in.
    text = data.decode("utf-8", "surrogateescape")
    return hidden(text, forms).encode("utf-8", "surrogateescape")


def _cut_off_at(text: str, form: str) -> int:
    """Return where the text's end begins that is the form's beginning; -1: nowhere."""
    beginning = form[:_LEAST_HIDDEN]
    at = text.find(beginning, max(0, len(text) - len(form) + 1))
    while at >= 0 and not form.startswith(text[at:]):
        at = text.find(beginning, at + 1)
    return at
