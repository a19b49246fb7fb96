"""What every handler shares: typed events, a log line's fields, metrics, and errors by their own names."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, cast

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from pydantic import BaseModel, ValidationError
from siltstone.errors import BadEvent, SiltstoneError

from functions._environment import environment

logger = Logger()
tracer = Tracer()
metrics = Metrics()

_LOGGED = 512  # characters: the longest name of a collection

Request = TypeVar("Request", bound=BaseModel)


class LambdaContext(Protocol):
    """The part of Lambda's context that is used."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int: ...


Figures = Mapping[str, float]
Handler = Callable[[dict[str, Any], LambdaContext], dict[str, Any]]


def parse_event(kind: type[Request], event: object) -> Request:
    """The event as a typed message. Raises `BadEvent` naming the first wrong field."""
    try:
        return kind.model_validate(event)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the event"
        raise BadEvent(
            f"{kind.__name__}: field {field!r}: {first['msg']}.", remedy="Correct the input and start again."
        ) from error


def entry(
    state: str,
    kind: type[Request],
    *,
    measure: Callable[[Any], Figures] | None = None,
    count_errors: Mapping[type[SiltstoneError], str] | None = None,
) -> Callable[[Callable[[Request, LambdaContext], BaseModel]], Handler]:
    """Make a Lambda handler of a function ``(request, context) -> output``.

    ``measure`` turns the output into EMF figures by name; ``count_errors`` names the metric that counts an error.
    Errors leave as they are: Step Functions sees the class name.
    """

    def decorate(work: Callable[[Request, LambdaContext], BaseModel]) -> Handler:
        @functools.wraps(work)
        def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
            metrics.set_default_dimensions(stage=environment().stage)
            try:
                with logger.append_context_keys(state=state, request_id=context.aws_request_id, **_identity(event)):
                    return answer(event, context).model_dump(mode="json")
            finally:
                if metrics.metric_set:
                    metrics.flush_metrics()

        def answer(event: dict[str, Any], context: LambdaContext) -> BaseModel:
            try:
                output = work(parse_event(kind, event), context)
            except SiltstoneError as error:
                logger.warning(str(error), error=type(error).__name__, retryable=error.retryable)
                for family, name in (count_errors or {}).items():
                    if isinstance(error, family):
                        metrics.add_metric(name, MetricUnit.Count, 1)
                raise
            logger.info("done")
            for name, value in (measure(output) if measure else {}).items():
                metrics.add_metric(name, MetricUnit.NoUnit, value)
            return output

        # Neither payloads nor stack traces go into a trace: a receipt's text may be in them.
        return tracer.capture_lambda_handler(handler, capture_response=False, capture_error=False)

    return decorate


def _identity(event: object) -> dict[str, object]:
    """What a log line must carry to be found again: collection, run, version, token; or the batch."""
    if not isinstance(event, Mapping):
        return {}
    fields = cast("Mapping[str, object]", event)
    run = fields.get("run")
    if isinstance(run, Mapping):
        known = cast("Mapping[str, object]", run)
        return {
            "collection": known.get("collection"),
            "run": f"{known.get('execution')}-{known.get('index')}",
            "version": known.get("version"),
            "token": known.get("token"),
        }
    names = ("collection", "collection_name", "batch_id", "attempt")
    return {name: _loggable(fields[name]) for name in names if name in fields}


def _loggable(value: object) -> object:
    """What a caller sent, and nobody has judged yet: of any size, and perhaps no Unicode, which would cost the line."""
    if isinstance(value, int):
        return value
    return str(value)[:_LOGGED].encode("utf-8", "backslashreplace").decode()
