"""The application: routes behind one gate, around one service."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from labelwise.config import ServeConfig
from labelwise.errors import LabelwiseError
from labelwise.serve import label_studio, probes, routes
from labelwise.serve.access import Access
from labelwise.serve.gate import Gate
from labelwise.serve.json_route import Shortcut
from labelwise.serve.metrics import Metrics
from labelwise.serve.problems import on_error
from labelwise.serve.service import Service
from labelwise.tagger import Tagger

ANSWERED = (HTTPException, RequestValidationError, LabelwiseError, TimeoutError)
DESCRIPTION = "Named entity recognition from the words of your labels."


def create_app(
    source: Tagger | Callable[[], Tagger],
    config: ServeConfig | None = None,
    *,
    token: str | None = None,
    routers: Sequence[APIRouter] = (),
    open_paths: Collection[str] = (),
    body_limits: Mapping[str, int] | None = None,
) -> FastAPI:
    """Build the application.

    Args:
        source: A tagger, or a function that loads one; it is called when the server starts, and
            ``/ready`` says when it is done.
        config: Limits.
        token: What callers must show, if anything; see ``access.check_binding``.
        routers: More routes. They find the service by ``shared.service_of``, and read strict JSON
            where they are made with ``route_class=json_route.JsonRoute``.
        open_paths: Paths that need no token; one that ends with ``/`` opens all below it.
        body_limits: Bytes of a body for paths that begin so, where not ``max_body_bytes``.
    """
    config = config or ServeConfig()
    metrics = Metrics()
    service = Service(source, config, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="Labelwise",
        description=DESCRIPTION,
        version="1",
        docs_url=None,  # these pages load scripts of other hosts
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
        lifespan=lifespan,
    )
    app.state.service = service
    all_routers = (routes.router, probes.router, label_studio.router, *routers)
    for router in all_routers:
        app.include_router(router)
    for error in ANSWERED:
        app.add_exception_handler(error, on_error)
    app.add_middleware(Shortcut, routers=all_routers, errors=ANSWERED, on_error=on_error)
    app.add_middleware(
        Gate,
        access=Access(config, token),
        config=config,
        metrics=metrics,
        is_draining=lambda: service.status == "draining",
        open_paths=open_paths,
        body_limits=body_limits,
    )
    return app
