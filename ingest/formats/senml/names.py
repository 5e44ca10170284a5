"""Whose measurement a SenML record is: its names as a device and a channel."""

DEFAULT_CHANNEL = "main"
#: What names are joined by.
_SEAM = ":/._-"


def device_and_channel(
    base: str, name: str, default: str | None
) -> tuple[str | None, str]:
    """
    Return the device and the channel of a record; device None: nothing names one.

    With a base name that is the device, and the name its channel. Without, the name is
    the device, up to the last slash if it has one; where the device is known from
    elsewhere, a name without a slash is its channel.
    """
    if device := base.rstrip(_SEAM):
        return device, name.lstrip(_SEAM) or DEFAULT_CHANNEL
    head, _, tail = (base + name).rpartition("/")
    if head and tail:
        return head, tail
    if default is not None:
        return default, tail or DEFAULT_CHANNEL
    return tail or None, DEFAULT_CHANNEL
