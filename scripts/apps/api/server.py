"""The API as a server: models in memory, limits in front, a folder for what is uploaded."""

import asyncio
import copy
import logging
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from uvicorn.config import LOGGING_CONFIG

from scripts.apps.access import KnownHosts
from scripts.apps.api.connections import Connection
from scripts.apps.api.errors import add_handlers
from scripts.apps.api.limits import Limits
from scripts.apps.api.paths import AllowedFolders
from scripts.apps.api.rate_limiter import RateLimiter, SlowClientTimeout
from scripts.apps.api.routes import open_router, router
from scripts.apps.api.service import LoadedRun, Model, WorkerPools
from scripts.apps.polling import poll
from scripts.common.memory import return_freed_memory
from scripts.inference.predictor import Predictor
from scripts.inference.registry import Registry, find_run, tracked_reference, version_of

GRACE_SECONDS = 600  # for what runs when the server is to stop
BACKLOG = 128  # connections taken before the next look at those that are open
LOG = logging.getLogger("uvicorn.error")
TITLE = "Labels of audio files"
DESCRIPTION = "Trained runs: files in, labels over time out. A token goes into the header `Authorization`."


def create_app(
    loaded: Sequence[LoadedRun],
    limits: Limits | None = None,
    folders: AllowedFolders | None = None,
    token: str | None = None,
    max_windows: int | None = None,
    newer: Callable[[LoadedRun], LoadedRun | None] = lambda loaded: None,
    hosts: Collection[str] | None = None,
) -> FastAPI:
    """The server's application.

    Parameters
    ----------
    loaded : the models, the default one first.
    limits : default: those of `Limits`.
    folders : that requests may name files in; default: none.
    token : that requests have to carry; default: none.
    max_windows : of a forward pass; default: as many as the predictor's.
    newer : loads what is to take a model's place, None where nothing is; asked again and again in a thread, and at once
        by `await app.state.refresh()`.
    hosts : names that it is reached by, besides localhost, as `KnownHosts` takes them; default: any.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pools = WorkerPools()

        async def start(one: LoadedRun) -> None:
            model = Model(one, pools, max_windows)
            await model.warm_up()
            app.state.models[one.name] = model  # requests that have the one before go on with it

        async def refresh() -> None:
            for model in [*app.state.models.values()]:
                if one := await asyncio.to_thread(newer, model.loaded):
                    await start(one)
                    LOG.info("%s: %s takes over from %s", one.name, version_of(one.run), model.version)

        app.state.models, app.state.refresh = {}, refresh
        try:
            with tempfile.TemporaryDirectory(prefix="audio-api-") as app.state.folder:
                for one in loaded:
                    await start(one)
                polling = asyncio.create_task(poll(refresh, LOG.warning))
                yield
                polling.cancel()
        finally:
            pools.close()

    app = FastAPI(title=TITLE, description=DESCRIPTION, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.limits, app.state.folders, app.state.token = limits or Limits(), folders or AllowedFolders([]), token
    app.add_middleware(SlowClientTimeout)
    app.add_middleware(RateLimiter, limits=app.state.limits, on_idle=return_freed_memory)
    if hosts is not None:
        app.add_middleware(KnownHosts, hosts=hosts)
    app.include_router(open_router)
    app.include_router(router)
    add_handlers(app)
    return app


def load(references: Sequence[str | None], runs: Path, registry: str | None, longest: float) -> list[LoadedRun]:
    """The runs that the references mean, each once; raises as `find_run` and `Predictor`."""
    loaded = []
    for reference in dict.fromkeys(references):
        run = find_run(reference, runs, registry)
        reference = tracked_reference(reference, run)
        loaded.append(LoadedRun(reference or run.name, run, Predictor(run, longest=longest), reference))
    return loaded


def load_newer(loaded: LoadedRun, runs: Path, registry: str | None) -> LoadedRun | None:
    """What the registry has by the same reference now, if it is another version; raises as `load`."""
    run = Registry(registry, runs).newer(loaded.reference, loaded.run)
    if run is None:
        return None
    return replace(loaded, run=run, predictor=Predictor(run, longest=loaded.predictor.longest))


def make_server(app: FastAPI) -> uvicorn.Server:
    """One that answers until SIGTERM or SIGINT, and then what has been asked before."""
    log = copy.deepcopy(LOGGING_CONFIG)
    log["handlers"]["default"]["stream"] = "ext://sys.stdout"  # stderr is turned away while an mp3 is decoded
    config = uvicorn.Config(
        app,
        log_config=log,
        proxy_headers=False,  # else a client might choose the address that its requests are counted under
        server_header=False,
        http=Connection,
        ws="none",
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return uvicorn.Server(config)
