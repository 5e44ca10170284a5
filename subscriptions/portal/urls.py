"""The portal's paths, under /portal/."""

from django.urls import path, re_path

from subscriptions.portal import views

_LINK = r"(?P<link>pl_[0-9a-f]{32})"
_DELIVERY = rf"{_LINK}/deliveries/(?P<delivery>dlv_[0-9a-f]{{32}})"

app_name = "portal"
urlpatterns = [
    re_path(r"^(?P<token>ghl_[^/]*)/?$", views.enter, name="enter"),
    re_path(rf"^{_LINK}/$", views.home, name="home"),
    re_path(rf"^{_LINK}/test/$", views.test, name="test"),
    re_path(rf"^{_LINK}/rotate/$", views.rotate, name="rotate"),
    re_path(rf"^{_DELIVERY}/$", views.delivery_page, name="delivery"),
    re_path(rf"^{_DELIVERY}/retry/$", views.retry, name="retry"),
    path("", views.ended, name="ended"),
]
