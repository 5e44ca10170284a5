"""The API paths of subscriptions and delivery."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from subscriptions import views

router = SimpleRouter()
router.register("endpoints", views.EndpointViewSet)
router.register("messages", views.MessageViewSet)
router.register("deliveries", views.DeliveryViewSet)

urlpatterns = [
    path("event-types/", views.EventTypeView.as_view(), name="event-types"),
    *router.urls,
]
