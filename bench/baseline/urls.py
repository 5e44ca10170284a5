"""The baseline's one address."""

from django.urls import path

from bench.baseline.views import CallbackView

urlpatterns = [path("v1/callbacks/<uuid:source_id>", CallbackView.as_view())]
