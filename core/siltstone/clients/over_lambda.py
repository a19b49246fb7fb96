"""Questions by direct invocation of the query function."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from siltstone.clients.stage import INVOKE_CONFIG, aws_client
from siltstone.clients.transport import SHORTER, Question, encode, named_error, parse_answer
from siltstone.errors import BadQuery, BadSettings, StoreUnavailable
from siltstone.query.messages import QueryOutput
from siltstone.stores.aws import code_of, status_of, store_errors


class LambdaTransport:
    """Implements `siltstone.clients.transport.Transport`. ``function``: name or ARN; asked for with the first question,
    as the client is made with it.
    """

    def __init__(self, session: boto3.Session, function: Callable[[], str]) -> None:
        self._session = session
        self._function = function
        self._opening = threading.Lock()
        self._opened: tuple[Any, str] | None = None

    def ask(self, question: Question) -> QueryOutput:
        answer, failed = self._invoke(encode(question))
        if failed:
            raise named_error(str(answer.get("errorType", "")), str(answer.get("errorMessage", "")))
        return parse_answer(answer)

    def close(self) -> None:
        with self._opening:
            if self._opened is not None:
                self._opened[0].close()
                self._opened = None

    def _invoke(self, payload: bytes) -> tuple[dict[str, Any], bool]:
        with self._opening:
            if self._opened is None:
                self._opened = aws_client(self._session, "lambda", INVOKE_CONFIG), self._function()
            client, function = self._opened
        what = f"Invoking {function}"
        try:
            with store_errors(what):
                reply = client.invoke(FunctionName=function, Payload=payload)
                return json.loads(reply["Payload"].read()), "FunctionError" in reply
        except ClientError as error:
            if code_of(error) == "TooManyRequestsException":
                raise StoreUnavailable(f"{what}: {code_of(error)}.", remedy="Try again.") from error
            if status_of(error) == 413:
                raise BadQuery(f"{what}: {code_of(error)}.", remedy=SHORTER) from error
            raise BadSettings(f"{what}: {code_of(error)}.", remedy="Check the function's name.") from error
        except NoCredentialsError as error:
            raise BadSettings(f"{what}: there are no credentials.", remedy="Set AWS_PROFILE, or sign in.") from error
        except BotoCoreError as error:
            raise StoreUnavailable(f"{what}: {error}", remedy="Try again.") from error
