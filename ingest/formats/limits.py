"""What every format holds its readings to."""

from datetime import UTC, datetime, timedelta

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
#: How far ahead of the platform's clock a reading may lie.
AHEAD = timedelta(days=1)
#: Characters in a device's or a channel's name.
NAME_LIMIT = 255
#: Characters in a unit.
UNIT_LIMIT = 16
TRANSACTION_ID_LIMIT = 255
