"""The API as a server: models in memory, limits in front, a folder for what is uploaded."""

import asyncio
import copy
import socket
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from uvicorn.config import LOGGING_CONFIG

from scripts.apps.api.errors import add_handlers
from scripts.apps.api.gate import Gate
from scripts.apps.api.limits import Limits
from scripts.apps.api.paths import Folders
from scripts.apps.api.routes import open_router, router
from scripts.apps.api.service import Crew, Loaded, Model
from scripts.apps.ports import CONNECTIONS
from scripts.common.memory import return_freed_memory
from scripts.inference.predictor import Predictor
from scripts.inference.registry import find_run

GRACE_SECONDS = 600  # for what runs when the server is to stop
DESCRIPTION = "Trained runs that hear: files in, labels over time out. A token goes into the header `Authorization`."


def create_app(
    loaded: Sequence[Loaded],
    limits: Limits | None = None,
    folders: Folders | None = None,
    token: str | None = None,
    most: int | None = None,
) -> FastAPI:
    """The server's application.

    Parameters
    ----------
    loaded : the models, the default one first.
    limits : default: those of `Limits`.
    folders : that requests may name files in; default: none.
    token : that requests have to carry; default: none.
    most : windows of a forward pass; default: as many as the predictor's.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        crew = Crew()
        app.state.models = {one.name: Model(one, crew, most) for one in loaded}
        work = [asyncio.create_task(model.batcher.run()) for model in app.state.models.values()]
        try:
            with tempfile.TemporaryDirectory(prefix="audio-api-") as app.state.folder:
                for model in app.state.models.values():
                    await model.warm_up()
                yield
        finally:
            for task in work:
                task.cancel()
            crew.close()

    app = FastAPI(title="Labels of audio files", description=DESCRIPTION, lifespan=lifespan)
    app.state.limits, app.state.folders, app.state.token = limits or Limits(), folders or Folders([]), token
    app.add_middleware(Gate, limits=app.state.limits, rest=return_freed_memory)
    app.include_router(open_router)
    app.include_router(router)
    add_handlers(app)
    return app


def load(references: Sequence[str | None], runs: Path, registry: str | None, longest: float) -> list[Loaded]:
    """The runs that the references mean, each once; raises as `find_run` and `Predictor`."""
    found = {reference: find_run(reference, runs, registry) for reference in references}
    return [Loaded(name or run.name, run, Predictor(run, longest=longest)) for name, run in found.items()]


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Answer until SIGTERM or SIGINT, and then what has been asked before."""
    log = copy.deepcopy(LOGGING_CONFIG)
    log["handlers"]["default"]["stream"] = "ext://sys.stdout"  # stderr is turned away while an mp3 is decoded
    config = uvicorn.Config(
        app,
        log_config=log,
        proxy_headers=False,  # else a client might choose the address that its requests are counted under
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listener])
