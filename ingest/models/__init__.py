"""What comes in: sources, the ledger of callbacks, devices, channels and readings."""

from ingest.models.callbacks import (
    Callback,
    CallbackBody,
    CallbackRejection,
    CallbackState,
    PendingCallback,
    ProcessingProgress,
)
from ingest.models.devices import (
    Channel,
    ChannelWatch,
    Device,
    DeviceStatus,
    ReadingKind,
    ThresholdCrossing,
)
from ingest.models.readings import (
    Quality,
    Reading,
    ReadingRevision,
    Usage,
    UsageMark,
)
from ingest.models.sources import (
    RevokedDevice,
    Scheme,
    Source,
    SourceSecret,
    UnknownDevices,
)

__all__ = [
    "Callback",
    "CallbackBody",
    "CallbackRejection",
    "CallbackState",
    "Channel",
    "ChannelWatch",
    "Device",
    "DeviceStatus",
    "PendingCallback",
    "ProcessingProgress",
    "Quality",
    "Reading",
    "ReadingKind",
    "ReadingRevision",
    "RevokedDevice",
    "Scheme",
    "Source",
    "SourceSecret",
    "ThresholdCrossing",
    "UnknownDevices",
    "Usage",
    "UsageMark",
]
