"""The API's paths of sources, callbacks, devices and usage."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from ingest.views.callbacks import CallbackViewSet
from ingest.views.devices import ChannelViewSet, DeviceViewSet, ReadingViewSet
from ingest.views.rejections import RejectionViewSet
from ingest.views.sources import SourceViewSet
from ingest.views.usage import UsageView

router = SimpleRouter()
router.register("sources", SourceViewSet, basename="source")
router.register("callbacks", CallbackViewSet, basename="callback")
router.register("rejections", RejectionViewSet, basename="rejection")
router.register("devices", DeviceViewSet, basename="device")
router.register("channels", ChannelViewSet, basename="channel")
router.register("readings", ReadingViewSet, basename="reading")

urlpatterns = [path("usage/", UsageView.as_view(), name="usage"), *router.urls]
