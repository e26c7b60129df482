"""For machines that watch: ``/health``, ``/ready`` and ``/metrics``."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from labelwise.serve.metrics import CONTENT_TYPE
from labelwise.serve.problems import json_response
from labelwise.serve.schemas import Health, Ready
from labelwise.serve.shared import GUARDED, errors, service_of

router = APIRouter(tags=["probes"])


@router.get("/health", responses={200: {"model": Health}, **errors(400, 405)})
async def health() -> Response:
    """Say that the process lives, whatever state the model is in."""
    return json_response({"status": "UP"})


@router.get(
    "/ready",
    responses={
        200: {"model": Ready},
        503: {"model": Ready, "description": "Loading, draining or failed."},
        **errors(400, 405),
    },
)
async def ready(request: Request) -> Response:
    """Say whether requests should come here."""
    service = service_of(request)
    if service.status != "ready":
        return json_response({"status": service.status, "model_version": None}, 503)
    return json_response({"status": "ready", "model_version": service.model_version})


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **errors(*GUARDED),
    },
)
async def metrics(request: Request) -> Response:
    """Return counters and gauges in the text format of Prometheus."""
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE)
