"""The commands ``labelwise studio`` and ``labelwise project``: annotate, and keep what was done."""

from __future__ import annotations

import functools
import secrets
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from labelwise.apps.output import counted, data, note, written
from labelwise.apps.train import AsJson
from labelwise.errors import DataError, require
from labelwise.studio.nouns import Format

if TYPE_CHECKING:
    from labelwise.studio.follower import Load
    from labelwise.studio.project import Project
    from labelwise.tagger import Tagger

StartModel = Annotated[
    str | None,
    typer.Option(
        help="Model folder; if left out, the one that was fine-tuned in the project, or else the "
        "installed default model."
    ),
]
ProjectFile = Annotated[Path, typer.Argument(help="Project file; made where it is missing.")]


def studio(
    file: ProjectFile = Path("project.db"),
    model: StartModel = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free one.")
    ] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Annotate texts in the browser, and watch the model learn at once.

    Everything stays on this machine: the page, the model, and the project, which is one file.
    The address that is printed lets one browser in, once. Ctrl+C ends the studio.
    """
    for module in ("uvicorn", "fastapi", "prometheus_client"):
        require(module, "serve", "The studio")
    from labelwise.apps.serve import read_token, write_logs
    from labelwise.config import ServeConfig
    from labelwise.serve.access import check_binding
    from labelwise.serve.app import create_app
    from labelwise.serve.server import run
    from labelwise.studio import routes
    from labelwise.studio.project import Project
    from labelwise.studio.store import Store
    from labelwise.tagger import Tagger

    config = ServeConfig(port=port, drain_delay_s=0.0, drain_s=5.0, log_level="warning")
    token = read_token(None) or secrets.token_urlsafe(32)
    check_binding(config, token)
    code = secrets.token_urlsafe(24)
    write_logs(config.log_level)
    load = loads_start_once(lambda folder: Tagger.from_pretrained(folder or model))
    project = Project(Store(file), load, model)
    app = create_app(
        lambda: load(None),
        config,
        token=token,
        routers=[
            routes.page_router(routes.OneTimeCode(code), token),
            routes.studio_router(project, file.stem),
        ],
        open_paths=routes.OPEN_PATHS,
        body_limits=routes.BODY_LIMITS,
    )

    def started(url: str) -> None:
        address = f"{url}{routes.PREFIX}#code={code}"
        note(f"Studio of '{file}' on {address}\nThis address works once. Ctrl+C ends the studio.")
        for remark in _remarks(project, model):
            note(remark)
        if browser:
            webbrowser.open(address)

    with closing(project):
        run(app, config, started)
    note(f"Saved '{file}'")


def _remarks(project: Project, model: str | None) -> Iterator[str]:
    """Say which model a project with a fine-tuned one uses and why, and whether one waits."""
    adopted = project.model.adopted_folder
    if adopted is not None and project.model.model_folder is None:
        yield (
            f"Model: '{model}', as --model says. The one that was fine-tuned in this project, "
            f"'{adopted}', is used without --model."
        )
    elif adopted is not None:
        yield f"Model: '{adopted}', fine-tuned in this project. Give --model to use another."
    if project.job.status.output is not None:
        yield "A fine-tuned model waits to be used or turned down: see Fine-tune on the page."


def loads_start_once(load: Load) -> Load:
    """Keep the model of the start, which two threads ask for at once; fine-tuned ones come and go.

    Args:
        load: Loads a model folder, or the model of the start for None.
    """
    start, lock = functools.cache(lambda: load(None)), threading.Lock()

    def load_once(folder: str | None) -> Tagger:
        if folder is not None:
            return load(folder)
        with lock:  # the cache alone lets both load
            return start()

    return load_once


def project(
    action: Annotated[
        Literal["check", "backup", "export"],
        typer.Argument(help="check its soundness, copy it while in use, or export annotations"),
    ],
    file: Annotated[Path, typer.Argument(help="Project file of the studio.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write: backup or export.")
    ] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="Form of the export; jsonl if left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look after a project of the studio: check, backup or export its file."""
    from labelwise.studio.database import back_up

    if form is not None and action != "export":
        raise typer.BadParameter(f"'{action}' takes no --format. Leave it out.")
    if action == "check":
        if output is not None:
            raise typer.BadParameter("'check' writes no file. Leave --output out.")
        _check(file, as_json=as_json)
        return
    if output is None:
        raise typer.BadParameter(f"'{action}' writes a file. Name it with --output.")
    written_to: dict[str, object] = {"output": str(output)}
    if action == "backup":
        back_up(file, output)
        note(f"Wrote a copy of '{file}' to '{output}'")
    else:
        written_to["n_texts"] = n_texts = _export(file, output, form or "jsonl")
        note(f"Wrote {counted(n_texts, 'accepted text')} to '{output}'")
    if as_json:
        data(written_to)


def _check(file: Path, *, as_json: bool) -> None:
    from labelwise.studio.database import problems_of

    problems = problems_of(file)
    if as_json:
        data({"problems": problems})
    if problems:
        raise DataError(
            f"Project '{file}' is damaged: {' '.join(problems[:5])} Expected a sound file. "
            "Restore a backup."
        )
    note(f"'{file}' is sound")


def _export(file: Path, output: Path, form: Format) -> int:
    from labelwise.studio.exports import export
    from labelwise.studio.label_store import read_labels
    from labelwise.studio.store import Store

    with closing(Store(file, create=False)) as store:
        texts = store.texts(store.accepted_ids())
        content = export(texts, read_labels(store).names, form)
    with written(output) as stream:
        stream.write(content)
    return len(texts)
