"""The studio's routes: the page, and the JSON that it asks for. Thin; the project does the work."""

from __future__ import annotations

import hmac
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, RedirectResponse, Response

from labelwise.data import read_jsonl
from labelwise.errors import CheckpointError, LabelwiseError, MissingExtraError
from labelwise.labels import LabelSet
from labelwise.naming import LABEL_TABLES, label_table
from labelwise.sample_data import sample_path
from labelwise.serve.access import cookie_name, session_cookie
from labelwise.serve.json_route import JsonRoute
from labelwise.serve.problems import ApiError, json_response
from labelwise.studio import answers
from labelwise.studio.exports import FILES, export
from labelwise.studio.imports import Parsed, parse
from labelwise.studio.label_store import read_labels, remove_label
from labelwise.studio.nouns import (
    ConflictError,
    Format,
    Imported,
    Mark,
    NewText,
    ProjectLabel,
    State,
)
from labelwise.studio.page import INDEX, POLICY, static_files
from labelwise.studio.project import Project
from labelwise.studio.snippets import snippets

PREFIX = "/studio"
OPEN_PATHS = ("/", PREFIX, f"{PREFIX}/session", f"{PREFIX}/static/")
"""Paths that hold nothing of the project and need no session."""

BODY_LIMITS = {f"{PREFIX}/api/import": 64 << 20, f"{PREFIX}/api/texts": 8 << 20}
"""Bytes of a body, by the beginning of the path."""

Show = Literal["open", "accepted", "skipped", "all"]
_SHOWN: dict[Show, tuple[State, ...]] = {
    "open": ("new", "draft"),
    "accepted": ("accepted",),
    "skipped": ("skipped",),
    "all": ("new", "draft", "accepted", "skipped"),
}


class StudioRoute(JsonRoute):
    """A strict JSON route that tells of conflicts, what is missing or damaged, and a full disk."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the usual handler."""
        handle = super().get_route_handler()

        async def handle_openly(request: Request) -> Response:
            try:
                return await handle(request)
            except ConflictError as err:
                answer = answers.conflict_answer(err, request.state.request_id)
                return json_response(answer, 409)
            except (MissingExtraError, CheckpointError) as err:
                raise ApiError(422, str(err), code="not_possible") from err
            except sqlite3.OperationalError as err:
                raise ApiError(
                    503,
                    f"The project's file says: {err}. Expected one that can be written to, with "
                    "room on its disk. Make room, or close what else uses it, and try again.",
                    code="no_access",
                ) from err

        return handle_openly


class OneTimeCode:
    """A code that lets one browser in, once.

    Args:
        code: The code in the address that was printed.
    """

    def __init__(self, code: str) -> None:
        """Keep it until it is used."""
        self._code: str | None = code
        self._lock = threading.Lock()

    def use(self, given: str) -> bool:
        """Tell whether this is the code; a second time it is not."""
        with self._lock:
            if self._code is None:
                return False
            if not hmac.compare_digest(given.encode(), self._code.encode()):
                return False
            self._code = None
            return True


def page_router(code: OneTimeCode, token: str) -> APIRouter:
    """Make the routes of the page itself, and of the exchange of a code for a cookie.

    Args:
        code: Lets a browser in.
        token: What the cookie stands for.
    """
    router = APIRouter(route_class=StudioRoute, include_in_schema=False)
    page = static_files()

    @router.get("/")
    def root() -> Response:
        return RedirectResponse(PREFIX)

    @router.get(PREFIX)
    def index() -> Response:
        content, media_type = page[INDEX]
        return Response(content, headers={"Content-Security-Policy": POLICY}, media_type=media_type)

    @router.get(PREFIX + "/static/{name}")
    def static(name: str) -> Response:
        if name not in page or name == INDEX:
            raise ApiError(404, "There is no such file. Expected one of the page's own.")
        content, media_type = page[name]
        return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})

    @router.post(PREFIX + "/session")
    def session(body: answers.Code, request: Request) -> Response:
        if not code.use(body.code):
            raise ApiError(
                401,
                "This address has been used, or is of an earlier start. Expected a new one. "
                "Start the studio again and open the address that it prints.",
            )
        response = json_response({"ok": True})
        name = cookie_name(request.headers["host"].encode()).decode()
        response.set_cookie(name, session_cookie(token), path="/", httponly=True, samesite="strict")
        return response

    return router


def studio_router(project: Project, name: str) -> APIRouter:
    """Make the routes of one project.

    Args:
        project: The project.
        name: Shown on the page.
    """
    router = APIRouter(route_class=StudioRoute, prefix=f"{PREFIX}/api", include_in_schema=False)
    _add_label_routes(router, project, name)
    _add_text_routes(router, project)
    _add_import_routes(router, project)
    _add_export_routes(router, project)
    _add_finetune_routes(router, project)
    return router


def _add_label_routes(router: APIRouter, project: Project, name: str) -> None:
    def summary() -> Response:
        return json_response(answers.summary_answer(project.summary(), name))

    @router.get("/project")
    def get_project() -> Response:
        return summary()

    @router.get("/presets")
    def get_presets() -> Response:
        return json_response({table: list(label_table(table)) for table in LABEL_TABLES})

    @router.post("/labels")
    def post_labels(body: answers.LabelsIn) -> Response:
        spec = {x.name: x.model_dump(exclude={"name"}) for x in body.labels}
        project.add_labels(LabelSet.parse(spec))
        return summary()

    @router.put("/labels/{label_id}")
    def put_label(label_id: answers.Id, body: answers.LabelChange) -> Response:
        project.change_label(ProjectLabel(label_id, **body.model_dump()))
        return summary()

    @router.delete("/labels/{label_id}")
    def delete_label(label_id: answers.Id) -> Response:
        remove_label(project.store, label_id)
        project.model.follow()
        return summary()


def _add_text_routes(router: APIRouter, project: Project) -> None:
    @router.get("/order")
    def get_order(
        show: Show = "open", useful_first: bool = False, containing: str = ""
    ) -> Response:
        ids = project.order(_SHOWN[show], useful_first=useful_first, containing=containing)
        return json_response({"ids": ids})

    @router.post("/texts")
    def post_texts(body: answers.Ids) -> Response:
        texts = project.store.texts(body.ids)
        return json_response({"texts": [answers.text_answer(t) for t in texts]})

    @router.put("/texts/{text_id}")
    def put_text(text_id: answers.Id, body: answers.TextIn) -> Response:
        marks = [Mark(m.start, m.end, m.label) for m in body.marks]
        text = project.save(text_id, body.version, body.state, marks)
        return json_response(answers.text_answer(text))

    @router.post("/undo")
    def post_undo() -> Response:
        return json_response(answers.text_answer(project.undo()))

    @router.post("/suggestions")
    def post_suggestions(body: answers.Ids) -> Response:
        try:
            found = project.model.suggestions(body.ids)
        except LabelwiseError as err:
            if project.model.is_missing:
                raise ApiError(422, str(err), code="no_model") from err
            raise
        return json_response(answers.suggested_answer(found))


def _add_import_routes(router: APIRouter, project: Project) -> None:
    def parsed(body: answers.ImportIn) -> Parsed:
        return parse(body.name, body.content, body.form, body.column)

    @router.post("/import/preview")
    def post_preview(body: answers.ImportIn) -> Response:
        return json_response(answers.preview_answer(parsed(body)))

    @router.post("/import")
    def post_import(body: answers.ImportIn) -> Response:
        found = parsed(body)
        return _imported(project.import_texts(found.texts), found)

    @router.post("/sample")
    def post_sample(body: answers.SampleIn) -> Response:
        folder = sample_path(body.name)
        sentences = [s for part in ("train", "test") for s in read_jsonl(folder / f"{part}.jsonl")]
        texts = [NewText(s.text or "", f"sample {body.name}") for s in sentences]
        return _imported(project.import_texts(texts, LabelSet.read(folder)))


def _imported(imported: Imported, parsed: Parsed | None = None) -> Response:
    return json_response(
        {
            "n_added": imported.n_added,
            "n_annotated": imported.n_annotated,
            "n_known": imported.n_known,
            "n_empty": parsed.n_empty if parsed else 0,
            "n_overlapping": parsed.n_overlapping if parsed else 0,
            "remark": parsed.remark if parsed else "",
            "first_id": imported.first_id,
        }
    )


def _add_export_routes(router: APIRouter, project: Project) -> None:
    @router.get("/export/model")
    def get_model() -> Response:
        with tempfile.NamedTemporaryFile(prefix="labelwise-", suffix=".zip", delete=False) as file:
            path = Path(file.name)
        done = BackgroundTask(path.unlink, missing_ok=True)
        try:
            project.model.export(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return FileResponse(
            path, filename="model.zip", media_type="application/zip", background=done
        )

    @router.get("/export/{form}")
    def get_export(form: Format) -> Response:
        texts = project.store.texts(project.store.accepted_ids())
        content = export(texts, read_labels(project.store).names, form)
        filename, media_type = FILES[form]
        headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
        return Response(content, media_type=media_type, headers=headers)

    @router.get("/snippets")
    def get_snippets() -> Response:
        texts = project.store.texts(project.store.ids()[:1])
        return json_response(snippets(texts[0].text if texts else "Ada Lovelace moved to London."))


def _add_finetune_routes(router: APIRouter, project: Project) -> None:
    def status() -> Mapping[str, Any]:
        return answers.job_answer(project.job.status)

    @router.get("/finetune")
    def get_finetune() -> Response:
        return json_response(status())

    @router.post("/finetune")
    def post_finetune() -> Response:
        project.finetune()
        return json_response(status())

    @router.delete("/finetune")
    def delete_finetune() -> Response:
        project.job.cancel()
        return json_response(status())

    @router.post("/finetune/adopt")
    def post_adopt() -> Response:
        project.adopt()
        return json_response(status())

    @router.post("/finetune/dismiss")
    def post_dismiss() -> Response:
        project.turn_down()
        return json_response(status())
