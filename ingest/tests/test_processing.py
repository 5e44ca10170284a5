"""A batch from the queue to readings, receipts and marks."""

from decimal import Decimal

from ingest.models import CallbackState, Channel, Device, PendingCallback
from ingest.tests.accepting import inlet, interval
from tenants.database import acting_for
from tenants.models import Tenant


def test_a_callback_becomes_readings_in_the_stored_unit(tenant: Tenant) -> None:
    lane = inlet(tenant)
    callback = lane.settle(
        [
            interval("2016-01-01T00:00:00+01:00", "107.53", unit="Wh"),
            interval("2016-01-01T01:00:00+01:00", 95.42, unit="Wh"),
        ]
    )
    assert callback.state == CallbackState.PROCESSED
    assert (callback.stored, callback.rejected) == (2, 0)
    assert callback.processed_at is not None
    readings = lane.readings()
    assert [one.value for one in readings] == [Decimal("0.10753"), Decimal("0.09542")]
    assert {one.callback_id for one in readings} == {callback.id}
    with acting_for(tenant):
        device = Device.objects.get(tenant=tenant)
        channel = Channel.objects.get(tenant=tenant)
        assert (device.name, device.status) == ("WM-1", "active")
        assert (channel.code, channel.unit, channel.longest_s) == ("main", "kWh", 3600)
        assert not PendingCallback.objects.filter(tenant=tenant).exists()
    (usage,) = lane.usage()
    assert (usage.value, usage.expected_s, usage.actual_s) == (
        Decimal("0.20295"),
        86_400,
        7_200,
    )
