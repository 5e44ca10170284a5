"""The baseline's one view: verify, validate, insert, answer."""

import hashlib
import hmac
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.shortcuts import get_object_or_404
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bench.baseline.models import Callback, Source


class EnvelopeSerializer(serializers.Serializer[Any]):
    """What the product's listener checks of a body, and no more."""

    transaction_id = serializers.CharField(max_length=255)
    readings = serializers.ListField()


class CallbackView(APIView):
    """Takes callbacks."""

    def post(self, request: Request, source_id: UUID) -> Response:
        """Answer 202 when the row is committed, 200 or 409 when it was there."""
        source = get_object_or_404(Source, pk=source_id)
        body = request._request.body
        expected = hmac.digest(source.secret.encode(), body, "sha256").hex()
        given = request.headers.get("X-Hub-Signature-256", "")
        if not hmac.compare_digest(f"sha256={expected}".encode(), given.encode()):
            return Response({"code": "signature_invalid"}, status=401)
        envelope = EnvelopeSerializer(data=request.data)
        envelope.is_valid(raise_exception=True)
        name = envelope.validated_data["transaction_id"]
        digest = hashlib.sha256(body).digest()
        try:
            with transaction.atomic():
                callback = Callback.objects.create(
                    tenant_id=source.tenant_id,
                    source=source,
                    transaction_id=name,
                    digest=digest,
                    body=body,
                )
        except IntegrityError:
            return self._repeated(source, name, digest)
        return self._answer("accepted", callback, status.HTTP_202_ACCEPTED)

    def _repeated(self, source: Source, name: str, digest: bytes) -> Response:
        first = Callback.objects.get(source=source, transaction_id=name)
        if bytes(first.digest) != digest:
            return Response({"code": "transaction_conflict"}, status=409)
        return self._answer("duplicate", first, status.HTTP_200_OK)

    def _answer(self, word: str, callback: Callback, code: int) -> Response:
        return Response(
            {
                "status": word,
                "receipt": f"rcp_{callback.pk.hex}",
                "transaction_id": callback.transaction_id,
            },
            status=code,
        )
