"""
Why a reading or a callback is refused, in words, and what a person does about it.

The console shows these, and docs/reference/errors.md has the same words: a test holds
them together.
"""

from dataclasses import dataclass

_SENDER = "correct the sender, discard this"


@dataclass(frozen=True)
class Meaning:
    """A code in words."""

    why: str
    advice: str

    def plain(self) -> "Meaning":
        """Return the words without the marks of code."""
        return Meaning(self.why.replace("`", ""), self.advice.replace("`", ""))


#: Of a code that nobody described.
UNDESCRIBED = Meaning("its code says why", "see the reference of error codes")

#: Codes of a reading: it is refused because …
READING_CODES: dict[str, Meaning] = {
    "reading_invalid": Meaning(
        "it is not an object, or a member is malformed in a way that no other code "
        "names",
        _SENDER,
    ),
    "device_missing": Meaning("neither it nor the body names a device", _SENDER),
    "device_invalid": Meaning(
        "its `device` is no text of 1 to 255 characters", _SENDER
    ),
    "device_unknown": Meaning(
        "the device is new to a source that takes known devices only, or quarantined",
        "approve the device, then process the callback again",
    ),
    "device_not_signed": Meaning(
        "its device is not the one whose own key signed the body", _SENDER
    ),
    "channel_invalid": Meaning("`channel` is no text of 1 to 255 characters", _SENDER),
    "time_invalid": Meaning("`at` is absent, malformed, or has no offset", _SENDER),
    "time_out_of_range": Meaning(
        "`at` is before 2000-01-01 or the months that are kept, or more than a day "
        "ahead",
        "set the device's clock, discard this; process it again when `at` has come",
    ),
    "kind_unknown": Meaning("`kind` is neither `interval` nor `register`", _SENDER),
    "duration_missing": Meaning("an interval without `duration_s`", _SENDER),
    "duration_invalid": Meaning(
        "`duration_s` is no whole number from 1 to 31,622,400", _SENDER
    ),
    "quality_unknown": Meaning("`quality` is none of `A`, `E`, `S`, `F`, `N`", _SENDER),
    "value_missing": Meaning("no `value`, with a quality other than `N`", _SENDER),
    "value_unexpected": Meaning("a `value` with quality `N`", _SENDER),
    "value_invalid": Meaning("`value` is no decimal", _SENDER),
    "value_out_of_range": Meaning("`value` has more than 38 digits", _SENDER),
    "unit_invalid": Meaning("`unit` is no text of at most 16 characters", _SENDER),
    "unit_missing": Meaning(
        "no `unit`, and the channel has none yet",
        "let one reading of the channel name its unit, then process this again",
    ),
    "unit_mismatch": Meaning(
        "`unit` measures something else than the channel does",
        "send it under a channel of its own, discard this",
    ),
    "text_invalid": Meaning("a text holds U+0000", _SENDER),
}

#: Codes of a whole callback: it is rejected because …
BODY_CODES: dict[str, Meaning] = {
    "malformed_json": Meaning(
        "the body is no object with a list of readings (SenML: no array)", _SENDER
    ),
    "invalid_event": Meaning("the body is no CloudEvent", _SENDER),
    "base_invalid": Meaning(
        "a base field of a SenML pack is not what RFC 8428 says, so that nothing after "
        "it can be resolved",
        _SENDER,
    ),
    "version_unsupported": Meaning("a SenML pack has a `bver` above 10", _SENDER),
    "label_unknown": Meaning(
        "a SenML label ends in `_`, and so must be understood, but is not known",
        _SENDER,
    ),
    "content_type_unknown": Meaning(
        "no parser reads its content type",
        "bring the workers to the listener's version, then process it again",
    ),
    "body_gone": Meaning(
        "its raw body was past its retention before it was processed",
        "nothing is left to process: discard it",
    ),
    "processing_failed": Meaning(
        "processing it failed; the detail is the kind of failure, the log has the rest",
        "remove the cause, then process it again: the body is kept",
    ),
}

#: Kinds of failure that are no exception's name.
FAILURES: dict[str, str] = {
    "WorkerLost": "Three workers were lost while they worked on it alone: killed for "
    "lack of memory, perhaps, or a statement that Postgres cancelled.",
}


def meaning(code: str) -> Meaning:
    """Return a code in words."""
    return READING_CODES.get(code) or BODY_CODES.get(code) or UNDESCRIBED
