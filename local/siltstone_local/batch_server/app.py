"""The server's routes: requests in, OpenAI's objects out. Nothing here takes long; the work is another process's."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, cast

import orjson
from pydantic import ValidationError
from siltstone.embedding.requests import MAX_BATCH_BYTES
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from siltstone_local import embedder
from siltstone_local.batch_server.api_error import ApiError, invalid, missing
from siltstone_local.batch_server.batches import cancel, new_batch
from siltstone_local.batch_server.embeddings import answer, check, models
from siltstone_local.batch_server.faults import FaultBoard, Faults
from siltstone_local.batch_server.gate import Gate
from siltstone_local.batch_server.state import State, StoredBatch

_MAX_FILE_BYTES = 512 * 2**20
_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")


def json_response(value: object, status: int = 200) -> Response:
    """Serialized by orjson, which writes float32 arrays as they are."""
    return Response(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type="application/json")


def make_app(state: State, worker: Callable[[], AbstractContextManager[None]]) -> Starlette:
    """The application over ``state``. ``worker``: runs the working process as long as the server lives."""
    board = FaultBoard()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        with worker():
            yield

    api = _Api(state, board)
    app = Starlette(
        routes=[
            Route("/v1/files", api.create_file, methods=["POST"]),
            Route("/v1/files", api.list_files, methods=["GET"]),
            Route("/v1/files/{file_id}", api.get_file, methods=["GET"]),
            Route("/v1/files/{file_id}", api.delete_file, methods=["DELETE"]),
            Route("/v1/files/{file_id}/content", api.file_content, methods=["GET"]),
            Route("/v1/batches", api.create_batch, methods=["POST"]),
            Route("/v1/batches", api.list_batches, methods=["GET"]),
            Route("/v1/batches/{batch_id}", api.get_batch, methods=["GET"]),
            Route("/v1/batches/{batch_id}/cancel", api.cancel_batch, methods=["POST"]),
            Route("/v1/embeddings", api.create_embeddings, methods=["POST"]),
            Route("/v1/models", api.list_models, methods=["GET"]),
            Route("/v1/models/{model}", api.get_model, methods=["GET"]),
            Route("/_faults", api.faults, methods=["GET", "POST", "DELETE"]),
            Route("/_ready", api.ready, methods=["GET"]),
        ],
        middleware=[Middleware(Gate, board=board)],
        exception_handlers={ApiError: _api_error, HTTPException: _http_error},
        lifespan=lifespan,
    )
    return app


async def _api_error(_: Request, error: Exception) -> Response:
    error = cast(ApiError, error)
    return json_response(error.body, error.status)


async def _http_error(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    unknown = f"Invalid URL ({request.method} {request.url.path})"
    message = unknown if error.status_code in (404, 405) else error.detail  # the rest: a broken multipart body
    return json_response(ApiError(error.status_code, message).body, error.status_code)


class _Api:
    """The handlers. What touches the disk runs in a thread."""

    def __init__(self, state: State, board: FaultBoard) -> None:
        self._state = state
        self._board = board

    # Files ----------------------------------------------------------------------------------------
    async def create_file(self, request: Request) -> Response:
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise ApiError(400, "Files are uploaded as multipart/form-data.")
        async with request.form(max_files=1, max_fields=10) as form:  # a large part is spooled to disk as it comes
            upload, purpose = form.get("file"), form.get("purpose")
            if not isinstance(upload, UploadFile):
                raise missing("file")
            if purpose not in _PURPOSES:
                raise (
                    invalid("purpose", f"'{purpose}' is not one of {list(_PURPOSES)}.")
                    if purpose
                    else missing("purpose")
                )
            filename, size = upload.filename or "upload", upload.size or 0
            if purpose == "batch" and not filename.endswith(".jsonl"):
                raise ApiError(400, "Invalid file format for Batch API. Must be .jsonl")
            if size > (MAX_BATCH_BYTES if purpose == "batch" else _MAX_FILE_BYTES):
                raise ApiError(400, "File is too large.")
            return json_response(await run_in_threadpool(self._keep, upload, filename, str(purpose)))

    def _keep(self, upload: UploadFile, filename: str, purpose: str) -> dict[str, Any]:
        path = self._state.folder / "work" / f"upload-{uuid.uuid4().hex}"
        with path.open("wb") as file:
            shutil.copyfileobj(upload.file, file, 2**20)
        return self._state.add_file(path, filename=filename, purpose=purpose)

    async def list_files(self, request: Request) -> Response:
        query = request.query_params
        limit, newest_first = _limit(query.get("limit"), 10_000, 10_000), query.get("order", "desc") != "asc"
        found = await run_in_threadpool(
            self._state.list_files, query.get("purpose"), query.get("after"), limit + 1, newest_first=newest_first
        )
        return _page(found, limit)

    async def get_file(self, request: Request) -> Response:
        return json_response(await self._file(request.path_params["file_id"]))

    async def delete_file(self, request: Request) -> Response:
        file_id = request.path_params["file_id"]
        if not await run_in_threadpool(self._state.delete_file, file_id):
            raise _no_file(file_id)
        return json_response({"id": file_id, "object": "file", "deleted": True})

    async def file_content(self, request: Request) -> Response:
        file = await self._file(request.path_params["file_id"])
        return FileResponse(self._state.content(file["id"]), media_type="application/octet-stream")

    async def _file(self, file_id: str) -> dict[str, Any]:
        file = await run_in_threadpool(self._state.file, file_id)
        if file is None:
            raise _no_file(file_id)
        return file

    # Batches --------------------------------------------------------------------------------------
    async def create_batch(self, request: Request) -> Response:
        body = new_batch(await _json(request))
        if await run_in_threadpool(self._state.file, body["input_file_id"]) is None:
            raise invalid("input_file_id", f"No such File object: {body['input_file_id']}")
        now = time.time()
        batch = StoredBatch(body, created=now, faults=self._board.take_batch())
        batch.progress.since = now
        await run_in_threadpool(self._state.add_batch, batch)
        return json_response(body)

    async def list_batches(self, request: Request) -> Response:
        after, limit = request.query_params.get("after"), _limit(request.query_params.get("limit"), 20, 100)
        created_before = time.time() - self._board.show().list_lag_seconds
        found = await run_in_threadpool(self._state.list_batches, after, limit + 1, created_before=created_before)
        return _page(found, limit)

    async def get_batch(self, request: Request) -> Response:
        batch_id = request.path_params["batch_id"]
        batch = await run_in_threadpool(self._state.batch, batch_id)
        if batch is None:
            raise _no_batch(batch_id)
        return json_response(batch.body)

    async def cancel_batch(self, request: Request) -> Response:
        batch_id = request.path_params["batch_id"]
        try:
            batch = await run_in_threadpool(self._state.update_batch, batch_id, cancel)
        except KeyError:
            raise _no_batch(batch_id) from None
        return json_response(batch.body)

    # Embeddings and models ------------------------------------------------------------------------
    async def create_embeddings(self, request: Request) -> Response:
        job = check(await _json(request))
        vectors = await run_in_threadpool(embedder.embed, job.texts, job.dimension)
        return json_response(answer(job, vectors))

    async def list_models(self, _: Request) -> Response:
        return json_response({"object": "list", "data": models()})

    async def get_model(self, request: Request) -> Response:
        name = request.path_params["model"]
        for model in models():
            if model["id"] == name:
                return json_response(model)
        raise ApiError(404, f"The model '{name}' does not exist.", param="model", code="model_not_found")

    # Around ---------------------------------------------------------------------------------------
    async def faults(self, request: Request) -> Response:
        if request.method == "POST":
            try:
                self._board.set(Faults.model_validate_json(await request.body()))
            except ValidationError as error:
                raise ApiError(400, str(error)) from error
        elif request.method == "DELETE":
            self._board.set(Faults())
        return Response(self._board.show().model_dump_json(), media_type="application/json")

    async def ready(self, _: Request) -> Response:
        return json_response({"ready": True})


async def _json(request: Request) -> object:
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError):
        raise ApiError(400, "We could not parse the JSON body of your request.") from None


def _limit(text: str | None, default: int, largest: int) -> int:
    if text is None:
        return default
    if not text.isdecimal() or not 1 <= int(text) <= largest:
        raise invalid("limit", f"Invalid 'limit': expected a whole number between 1 and {largest}.")
    return int(text)


def _page(found: list[dict[str, Any]], limit: int) -> Response:
    """``found`` has one more than ``limit`` where there is another page."""
    data = found[:limit]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    body = {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": len(found) > limit}
    return json_response(body)


def _no_file(file_id: str) -> ApiError:
    return ApiError(404, f"No such File object: {file_id}", param="id")


def _no_batch(batch_id: str) -> ApiError:
    return ApiError(404, f"No batch found with id '{batch_id}'.")
