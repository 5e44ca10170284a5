"""The API paths of billing."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from billing import views

router = SimpleRouter()
router.register("accounts", views.AccountViewSet)
router.register("agreements", views.AgreementViewSet)
router.register("tariffs", views.TariffViewSet)
router.register("bill-runs", views.BillRunViewSet)
router.register("invoices", views.InvoiceViewSet)

urlpatterns = [
    path("reports/usage.csv", views.UsageReportCsv.as_view(), name="usage-report-csv"),
    path(
        "reports/usage.xlsx", views.UsageReportXlsx.as_view(), name="usage-report-xlsx"
    ),
    path("invoices/<str:number>.pdf", views.InvoicePdf.as_view(), name="invoice-pdf"),
    *router.urls,
]
