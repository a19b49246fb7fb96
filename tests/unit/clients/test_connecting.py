"""What a client is connected to, and what happens where that is wrong, slow, damaged or gone."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import NoCredentialsError
from siltstone import Client, Collection, connect
from siltstone.clients import over_url, reading
from siltstone.deltas.batch import DeltaRows
from siltstone.errors import (
    BadQuery,
    BadSettings,
    FunctionFailed,
    InvalidInput,
    NothingWritten,
    ReadOnlyClient,
    SnapshotDamaged,
    StoreUnavailable,
    UnknownCollection,
    UnknownVersion,
)
from siltstone.query.aliases import move_alias

from tests.contracts.collections import ROWS
from tests.unit.clients.conftest import Stage
from tests.unit.clients.front_end import ACCESS_KEY, FUNCTION, REGION, SECRET_KEY
from tests.unit.query.house import CHROMA, DIMENSION, House, names, upserts


def asked_over_url(stage: Stage, **more: Any) -> Collection:
    return connect(url=stage.front.url, session=more.get("session", stage.session)).collection("texts")


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(over_url.time, "sleep", lambda seconds: None)


# Where to ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("places", [{}, {"url": "http://x", "function": "f"}, {"stage": "dev", "path": "p"}])
def test_a_client_is_connected_to_exactly_one_place(places: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="exactly one"):
        connect(**places)  # pyright: ignore[reportArgumentType]


def test_connecting_asks_nothing_yet() -> None:
    nowhere = boto3.Session("key", "secret", region_name="eu-west-1")
    for places in ({"stage": "nowhere"}, {"function": "nowhere"}, {"url": "http://127.0.0.1:9/"}):
        with connect(**places, session=nowhere) as client:  # pyright: ignore[reportArgumentType]
            assert repr(client.collection("texts")) == "Collection(name=texts)"


def test_an_unusable_name_or_url_is_refused(stage: Stage) -> None:
    with pytest.raises(InvalidInput, match="'a/b'"):
        stage.client("function").collection("a/b")
    with pytest.raises(InvalidInput, match="no URL"):
        connect(url="lambda-url.on.aws", session=stage.session)


# Over the URL -----------------------------------------------------------------------------------------
def test_only_who_signs_with_the_right_key_is_answered(stage: Stage) -> None:
    assert asked_over_url(stage).count() == len(ROWS)
    for session in (boto3.Session(ACCESS_KEY, "another key", region_name=REGION), boto3.Session("A", SECRET_KEY)):
        with pytest.raises(BadSettings, match=r"403.*InvokeFunctionUrl|No region"):
            asked_over_url(stage, session=session).count()


def test_the_region_is_the_urls_own_where_it_names_one(stage: Stage) -> None:
    session = boto3.Session(ACCESS_KEY, SECRET_KEY, region_name="us-east-1")
    with pytest.raises(BadSettings, match="403"):
        asked_over_url(stage, session=session).count()
    transport = over_url.UrlTransport(f"https://abc.lambda-url.{REGION}.on.aws/", session)
    transport._url = stage.front.url
    assert transport.ask({"collection_name": "texts", "operation": "count"}).count == len(ROWS)
    transport.close()


def test_without_credentials_it_says_so(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    session = boto3.Session(region_name=REGION)
    monkeypatch.setattr(session, "get_credentials", lambda: None)
    with pytest.raises(BadSettings, match="no AWS credentials"):
        asked_over_url(stage, session=session).count()
    client = boto3.client("lambda", region_name=REGION)

    def refuse(**_: object) -> None:
        raise NoCredentialsError

    monkeypatch.setattr(client, "invoke", refuse)
    monkeypatch.setattr(session, "client", lambda *_, **__: client)
    with pytest.raises(BadSettings, match="no credentials"):
        connect(function=FUNCTION, session=session).collection("texts").count()


@pytest.mark.usefixtures("no_pauses")
def test_what_may_pass_by_itself_is_asked_again(stage: Stage) -> None:
    before = stage.front.asked
    stage.front.next_statuses = [429, 504]
    assert asked_over_url(stage).count() == len(ROWS)
    assert stage.front.asked - before == 3
    stage.front.next_statuses = [429, 500, 504]
    with pytest.raises(StoreUnavailable, match="HTTP 504: not now"):
        asked_over_url(stage).count()
    assert stage.front.next_statuses == []


@pytest.mark.usefixtures("no_pauses")
def test_nobody_there_is_no_answer(stage: Stage) -> None:
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:9"):
        connect(url="http://127.0.0.1:9/", session=stage.session).collection("texts").count()


@pytest.mark.parametrize(("status", "error"), [(502, FunctionFailed), (404, BadSettings), (413, BadQuery)])
def test_what_lambda_itself_answers_is_no_answer_of_ours(stage: Stage, status: int, error: type[Exception]) -> None:
    stage.front.next_statuses = [status]
    with pytest.raises(error, match=f"HTTP {status}"):
        asked_over_url(stage).count()


def test_a_question_that_is_too_large_is_no_matter_of_settings(stage: Stage) -> None:
    stage.front.next_statuses = [413]
    with pytest.raises(BadQuery, match="fewer ids"):
        stage.client("function").collection("texts").count()


def test_damage_keeps_its_name_where_the_way_has_room_for_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    from functions import query as module

    def damaged(*_: object) -> None:
        raise SnapshotDamaged("chroma.sqlite3 differs from its hash.")

    def slip(*_: object) -> None:
        raise ValueError("shapes")

    monkeypatch.setattr(module, "query", damaged)
    with pytest.raises(SnapshotDamaged, match="differs"):
        stage.client("function").collection("texts").count()
    with pytest.raises(FunctionFailed, match="502"):
        asked_over_url(stage).count()
    monkeypatch.setattr(module, "query", slip)
    with pytest.raises(FunctionFailed, match="ValueError: shapes"):
        stage.client("function").collection("texts").count()


def test_a_function_that_is_not_there_is_named(stage: Stage) -> None:
    with pytest.raises(BadSettings, match="nowhere"):
        connect(function="nowhere", session=stage.session).collection("texts").count()


# A local copy -----------------------------------------------------------------------------------------
def test_a_copy_has_one_version_of_one_collection(stage: Stage) -> None:
    with stage.client("path") as client:
        texts = client.collection("texts")
        assert texts.get(limit=1).answered_from.version == stage.version
        assert texts.count(version=stage.version) == len(ROWS)
        with pytest.raises(UnknownVersion, match=stage.version):
            texts.count(version="20200131_235959_00009999")
        with pytest.raises(UnknownCollection, match="copy of texts"):
            client.collection("others").count()
        with pytest.raises(BadQuery, match="pending"):
            texts.count(consistency="strong")
        for write in (lambda: texts.upsert(["a"], documents=["a"]), lambda: texts.delete(["a"])):
            with pytest.raises(ReadOnlyClient, match="copy of one version"):
                write()
    with pytest.raises(InvalidInput, match="closed"):
        texts.count()


def test_a_copy_is_never_written_to(stage: Stage) -> None:
    before = {path: path.read_bytes() for path in stage.copy.rglob("*") if path.is_file()}
    with stage.client("path") as client:
        client.collection("texts").query(query_texts=["x"], where={"odd": True})
    assert {path: path.read_bytes() for path in stage.copy.rglob("*") if path.is_file()} == before


def test_a_copy_that_was_cut_short_is_not_taken_for_a_whole_one(stage: Stage, tmp_path: Path) -> None:
    for number, spoil in enumerate((lambda path: path.unlink(), lambda path: path.write_bytes(b"cut"))):
        copy = tmp_path / str(number)
        shutil.copytree(stage.copy, copy)
        spoil(next(copy.rglob("data_level0.bin")))
        with pytest.raises(SnapshotDamaged, match=r"data_level0\.bin"):
            connect(path=copy)
    for missing in ("chroma.sqlite3", "manifest.json"):
        copy = tmp_path / missing
        shutil.copytree(stage.copy, copy)
        (copy / missing).unlink()
        with pytest.raises(InvalidInput, match="no copy of a version"):
            connect(path=copy)
    with pytest.raises(InvalidInput, match="nowhere"):
        connect(path=tmp_path / "nowhere")


# Large answers ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["function", "url"])
def test_what_no_reply_can_hold_comes_in_several(stage: Stage, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    from functions import query as module

    with stage.client(kind) as client:
        texts = client.collection("texts")
        everything = ("metadatas", "documents", "embeddings")
        whole = texts.get(include=everything)
        vectors, some = whole["embeddings"], ["t20", "nobody", *list(ROWS)[:12]]
        by_id, near = texts.get(some), texts.query(query_embeddings=vectors, n_results=2)
        monkeypatch.setattr(module, "_LARGEST_REPLY", 5_000)
        before = stage.front.asked
        again = texts.get(include=everything)
        assert stage.front.asked - before > 3
        assert {name: column for name, column in again.items() if name != "embeddings"} == {
            name: column for name, column in whole.items() if name != "embeddings"
        }
        assert (again["embeddings"] == vectors).all()
        assert texts.get(some) == by_id
        assert texts.query(query_embeddings=vectors, n_results=2) == near
        assert texts.get(limit=7, offset=3, include=everything)["ids"] == list(ROWS)[3:10]
        monkeypatch.setattr(module, "_LARGEST_REPLY", 500)
        for ask in (texts.get, lambda: texts.get(["t00"]), lambda: texts.query(query_texts=["x"])):
            with pytest.raises(BadQuery, match="at most 500"):
                ask()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path, CHROMA, collections=("texts", "plain-2"))
    yield made
    made.close()


@pytest.fixture
def client(house: House) -> Iterator[Client]:
    with connect(stores=house.stores, provider=lambda: house.provider, clock=house.clock) as client:
        yield client


def test_a_snapshot_read_in_pages_is_of_one_version(
    house: House, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_RESULTS", 10)
    house.upsert(*names(30))
    house.compact()
    texts, transport = client.collection("texts"), client._transport
    ask, asked = transport.ask, list[int]()

    def and_then_compact(question: Any) -> Any:
        answer = ask(question)
        if not asked:
            house.upsert("a-first", *names(5, "z"))
            house.delete("r0003", "r0025")
            house.compact(and_retire=False)
        asked.append(1)
        return answer

    monkeypatch.setattr(transport, "ask", and_then_compact)
    found = texts.get()
    assert (found["ids"], len(asked)) == (names(30), 4)
    assert texts.get()["ids"] != names(30)


def test_a_strong_read_in_pages_has_every_row_that_stays(
    house: House, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_RESULTS", 10)
    house.upsert(*names(30))
    transport = client._transport
    ask, asked = transport.ask, list[int]()

    def and_then_write(question: Any) -> Any:
        answer = ask(question)
        house.upsert(f"a{len(asked)}")  # before all others: an offset would find a row twice
        house.delete(*names(3)) if len(asked) == 1 else None  # and miss three now
        asked.append(1)
        return answer

    monkeypatch.setattr(transport, "ask", and_then_write)
    assert client.collection("texts", consistency="strong").get()["ids"] == names(30)


def test_a_strong_read_in_pages_is_of_one_collection_though_its_alias_moves(
    house: House, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_RESULTS", 10)
    house.upsert(*names(30))
    house.upsert(*names(30, "x"), collection="plain-2")
    house.compact()
    house.compact("plain-2")
    alias = move_alias(house.snapshots, house.book, "both", "texts", held=None)
    transport = client._transport
    ask = transport.ask

    def and_then_move(question: Any) -> Any:
        answer = ask(question)
        if question["collection_name"] == "both":
            move_alias(house.snapshots, house.book, "both", "plain-2", held=alias)
        return answer

    monkeypatch.setattr(transport, "ask", and_then_move)
    assert client.collection("both", consistency="strong").get()["ids"] == names(30)


def test_a_collection_without_a_row_says_so(client: Client) -> None:
    with pytest.raises(NothingWritten, match="strong"):
        client.collection("texts").count()


# Writing ----------------------------------------------------------------------------------------------
def test_one_call_is_one_delta_with_its_hint(house: House, client: Client) -> None:
    client.collection("texts").upsert(["a", "b"], documents=["one", "two"])
    assert len(list(house.deltas.list("deltas/"))) == 1
    assert [hint["embedding_count"] for hint in house.stores.hints.told] == [2]  # pyright: ignore
    (metadata,) = client.collection("texts", consistency="strong").get(["a"])["metadatas"]
    assert metadata.keys() == {"model", "input_format", "input_sha256", "delta_id"}
    assert (metadata["model"], metadata["input_format"]) == (house.settings.model, "plain-v1")


def test_nothing_is_paid_for_what_is_refused(house: House, client: Client) -> None:
    for wrong in ({"metadatas": [{"$no": 1}]}, {"metadatas": [{}, {}]}):
        with pytest.raises(InvalidInput):
            client.collection("texts").upsert(["a"], documents=["one"], **wrong)
    assert house.provider.calls["embed"] == 0


def test_what_is_written_through_an_alias_is_found_through_it(house: House, client: Client) -> None:
    house.write(upserts(["x"]), "plain-2")
    house.compact("plain-2")
    move_alias(house.snapshots, house.book, "current", "plain-2", held=None)
    current = client.collection("current", consistency="strong")
    current.upsert(["a"], documents=["one"])
    assert current.get()["ids"] == ["a", "x"]
    assert current.get().answered_from.collection_name == "plain-2"
    assert current.delete(["a"]) == {"deleted": 1}
    assert current.get()["ids"] == ["x"]
    with pytest.raises(UnknownCollection, match="nowhere"):
        client.collection("nowhere").upsert(["a"], documents=["one"])


def test_where_writes_go_comes_from_the_environment_where_nothing_is_said(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from siltstone.deltas.produce import producer_from_environment

    producer_from_environment.cache_clear()
    monkeypatch.delenv("DELTA_BUCKET")
    with pytest.raises(BadSettings, match="DELTA_BUCKET"):
        asked_over_url(stage).upsert(["a"], embeddings=[[1.0] * DIMENSION])


def test_a_client_serves_several_threads(house: House, client: Client) -> None:
    house.write(DeltaRows.upserts(names(8), upserts(names(8)).embeddings))
    house.compact()
    texts, found = client.collection("texts", consistency="strong"), list[Any]()

    def work(number: int) -> None:
        texts.upsert([f"w{number}"], documents=[f"text {number}"])
        found.append(texts.query(query_texts=[f"text {number}"], n_results=1)["ids"])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [[[f"w{number}"]] for number in range(8)]
    assert texts.count() == 16
