"""Questions to the query function's URL, each signed with the caller's AWS credentials (SigV4)."""

from __future__ import annotations

import json
import random
import re
import time
from typing import Any

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection
from botocore.httpsession import URLLib3Session

from siltstone.clients.transport import SHORTER, Question, encode, named_error, parse_answer
from siltstone.errors import BadQuery, BadSettings, FunctionFailed, InvalidInput, StoreUnavailable
from siltstone.query.messages import QueryOutput

_REGION = re.compile(r"\.lambda-url\.([a-z0-9-]+)\.")
_CONNECT_SECONDS, _ANSWER_SECONDS = 5, 70  # the function itself gives up after 60
_CONNECTIONS = 32  # as the other clients: several threads may ask at once
_ATTEMPTS = 3  # a question changes nothing: it may be asked again
_PAUSE_SECONDS = 0.2
_ASK_AGAIN = frozenset({429, 500, 504})


class UrlTransport:
    """Implements `siltstone.clients.transport.Transport`. Credentials and region are the session's.

    The region is the one that the URL names, where it names one. Needs ``lambda:InvokeFunctionUrl`` and
    ``lambda:InvokeFunction``.
    """

    def __init__(self, url: str, session: boto3.Session) -> None:
        if not re.match(r"https?://[^/]+", url):
            raise InvalidInput(f"{url[:80]!r} is no URL.", remedy="Give the stack's output QueryUrl.")
        self._url = url
        found = _REGION.search(url)
        region = found[1] if found else session.region_name
        if not region:
            raise BadSettings(f"No region is known for {url}.", remedy="Set AWS_REGION.")
        self._region: str = region
        self._session = session
        self._http = URLLib3Session(timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS), max_pool_connections=_CONNECTIONS)

    def ask(self, question: Question) -> QueryOutput:
        body = encode(question)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._answered(*self._send(body))
            except StoreUnavailable:
                if attempt == _ATTEMPTS:
                    raise
                time.sleep(_PAUSE_SECONDS * 2**attempt * random.random())  # noqa: S311 - jitter
        raise AssertionError("unreachable")

    def close(self) -> None:
        self._http.close()

    def _send(self, body: bytes) -> tuple[int, bytes]:
        try:
            credentials = self._session.get_credentials()
            if credentials is None:
                raise BadSettings("There are no AWS credentials to sign with.", remedy="Set AWS_PROFILE, or sign in.")
            request = AWSRequest("POST", self._url, headers={"content-type": "application/json"}, data=body)
            # Signed anew for each attempt: a signature is good for minutes, and credentials may be renewed in between.
            SigV4Auth(credentials.get_frozen_credentials(), "lambda", self._region).add_auth(request)
            reply = self._http.send(request.prepare())
        except (NoConnection, HTTPClientError) as error:
            raise StoreUnavailable(f"{self._url}: {error}", remedy="Try again.") from error
        except BotoCoreError as error:
            raise BadSettings(f"The credentials can't be used: {error}", remedy="Sign in again.") from error
        return reply.status_code, reply.content

    def _answered(self, status: int, content: bytes) -> QueryOutput:
        body = _json(content)
        if status == 200:
            return parse_answer(body)
        said = body if isinstance(body, dict) else {}
        if "error" in said:
            raise named_error(str(said["error"]), str(said.get("message", "")))
        words = str(said.get("Message") or said.get("message") or "")[:300]
        if status in _ASK_AGAIN:
            raise StoreUnavailable(f"{self._url}: HTTP {status}: {words}", remedy="Try again.")
        if status == 403:
            raise BadSettings(
                f"{self._url}: HTTP 403: {words}",
                remedy="Give the caller lambda:InvokeFunctionUrl and lambda:InvokeFunction, and check its clock.",
            )
        if status == 413:
            raise BadQuery(f"{self._url}: HTTP 413: {words}", remedy=SHORTER)
        if status in (400, 404):
            raise BadSettings(f"{self._url}: HTTP {status}: {words}", remedy="Check the URL: the output QueryUrl.")
        # 502 and the like: damage, a crash, no time left. Over a URL Lambda does not say which.
        raise FunctionFailed(f"{self._url}: HTTP {status}: {words}", remedy="The query function's log says why.")


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None
