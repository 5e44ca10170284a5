"""The API paths of subscriptions and delivery."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from subscriptions import views

router = SimpleRouter()
router.register("endpoints", views.EndpointViewSet)
router.register("messages", views.MessageViewSet)
router.register("deliveries", views.DeliveryViewSet)
router.register("redeliveries", views.RedeliveryViewSet)
router.register("device-groups", views.DeviceGroupViewSet)

urlpatterns = [
    path("event-types/", views.EventTypeView.as_view(), name="event-types"),
    path("signing-keys/", views.SigningKeysView.as_view(), name="signing-keys"),
    path(
        "signing-keys/rotate/",
        views.SigningKeyRotationView.as_view(),
        name="signing-key-rotation",
    ),
    *router.urls,
]
