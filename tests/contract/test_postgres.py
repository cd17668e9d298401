"""PostgreSQL beyond the contract of stores: its errors, its locks, its clock, how workers wait, and connections that are lost."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from postgres import Server
from recorded import DOCUMENT, Recorded, recorded
from tcp_proxy import Proxy

from broodline.config.study import parse
from broodline.controller.client import Start
from broodline.controller.controller import Controller
from broodline.core.trial import Measurement, Trial
from broodline.errors import StoreError, StoreMissing, StoreUnavailable
from broodline.storage.location import open_store
from broodline.storage.postgres import listening
from broodline.storage.postgres.store import PostgresStore
from broodline.storage.sqlite.store import SqliteStore
from broodline.testing import Crew, FakeClock, check_invariants, study_from_tables

Open = Callable[[], PostgresStore]
PASSWORD = "s3cret/@%"
QUOTED = "s3cret%2F%40%25"


@pytest.fixture
def url(postgres: Server) -> str:
    return postgres.new_schema()


@pytest.fixture
def opened(url: str) -> Iterator[Open]:
    """Opens the store of this test, once more at each call."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(PostgresStore(url)))


@pytest.fixture
def store(opened: Open) -> PostgresStore:
    store = opened()
    store.create("s", "{}")
    return store


@pytest.fixture(scope="module")
def secured(postgres: Server) -> Server:
    """The server, which asks the user `secretive` for a password."""
    postgres.execute(f"CREATE ROLE secretive LOGIN PASSWORD '{PASSWORD}'")
    rules = postgres.data / "pg_hba.conf"
    rules.write_text(f"host all secretive 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
    postgres.execute("SELECT pg_reload_conf()")
    return postgres


# Refusals


def with_password(server: Server, password: str) -> str:
    return server.url(user=f"secretive:{password}")


@pytest.mark.parametrize("password", ["wr0ng%2Fone", ""])
def test_a_wrong_password_is_permanent_and_no_message_shows_it(secured: Server, password: str) -> None:
    with pytest.raises(StoreError, match=r"the server .* password; write it into the file that PGPASSFILE names") as raised:
        open_store(with_password(secured, password))
    chain = f"{raised.value} {raised.value.__cause__}"
    assert "wr0ng" not in chain
    assert f"postgresql://secretive@127.0.0.1:{secured.port}" in str(raised.value)


def test_a_password_comes_from_the_url_the_file_of_passwords_or_a_service(
    secured: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secured.execute("CREATE SCHEMA IF NOT EXISTS secretive AUTHORIZATION secretive")
    everything = f"postgresql://secretive@127.0.0.1:{secured.port}/postgres"
    open_store(everything.replace("@", f":{QUOTED}@", 1)).close()
    passwords, services = tmp_path / "passwords", tmp_path / "services"
    passwords.write_text(f"127.0.0.1:{secured.port}:*:secretive:{PASSWORD}\n")
    passwords.chmod(0o600)
    services.write_text(f"[ours]\nhost=127.0.0.1\nport={secured.port}\ndbname=postgres\nuser=secretive\n")
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    for url in (everything, "postgresql://?service=ours", "postgres://?service=ours"):
        open_store(url).close()


def test_a_missing_database_a_missing_user_and_a_missing_privilege_are_permanent(postgres: Server) -> None:
    with pytest.raises(StoreMissing, match=r"no such database; create it with `createdb`"):
        open_store(postgres.url("gone"))
    with pytest.raises(StoreError, match="no such user"):
        open_store(postgres.url(user="nobody_at_all"))
    postgres.execute("DROP SCHEMA IF EXISTS closed CASCADE; CREATE SCHEMA closed")
    postgres.execute("DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN; GRANT USAGE ON SCHEMA closed TO guest")
    with pytest.raises(StoreError, match="lacks a privilege"):
        open_store(postgres.url(schema="closed", user="guest"))


def test_tables_are_made_only_if_they_may_be_and_none_of_another_program_is_used(postgres: Server, url: str) -> None:
    with pytest.raises(StoreMissing, match="no tables of broodline"):
        open_store(url, create=False)
    postgres.execute("DROP SCHEMA IF EXISTS others CASCADE; CREATE SCHEMA others; CREATE TABLE others.trials (name text)")
    with pytest.raises(StoreError, match=r"(?s)'others' has tables of another program .*search_path"):
        open_store(postgres.url(schema="others"))
    with pytest.raises(StoreError, match="no schema of the search path exists"):
        open_store(postgres.url(schema="not_there"))
    postgres.execute("DROP DATABASE IF EXISTS latin")
    postgres.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(StoreError, match="its encoding is LATIN1"):
        open_store(postgres.url("latin"))


@pytest.mark.parametrize(
    "other", ["postgresql://h:port/db", "postgresql://h/db?nonsense=1", f"postgresql://u:{PASSWORD}%zz@h/db"]
)
def test_what_is_no_url_is_refused(other: str) -> None:
    with pytest.raises(StoreError, match="is no URL of PostgreSQL") as raised:
        open_store(other)
    assert "s3cret" not in f"{raised.value!r} {raised.value.__cause__!r}"


def test_a_server_that_does_not_answer_is_waited_for() -> None:
    with pytest.raises(StoreUnavailable, match="refused"):
        open_store("postgresql://postgres@127.0.0.1:1/db")


# Values


def test_every_integer_has_64_bits(postgres: Server, store: PostgresStore) -> None:
    columns = (
        "SELECT DISTINCT data_type FROM information_schema.columns WHERE data_type LIKE '%int%' AND table_schema LIKE 'test%'"
    )
    assert postgres.execute(columns) == [("bigint",)]
    big = Trial(number=2**40, member=2**40, generation=2**40, params={}, steps=2**53, attempt=2**40, seed=2**62, parent=2**41)
    with store.transaction("s") as records:
        records.insert(big)
        records.add_measurements(big.number, big.attempt, [Measurement(step=2**53, metrics={})])
    with store.snapshot("s") as records:
        assert records.trial(2**40) == big
        assert records.measurements(2**40)[0].step == 2**53


def test_a_null_character_is_recorded_as_sqlite_records_it(store: PostgresStore) -> None:
    def played(store: Any) -> list[Any]:
        study = recorded(store, name="zero", train={"retries": 0})
        study.complete({"accuracy": 0.5, "note": "a\0b", "half": "\ud800"})
        study.fail("broke: \0", reported=[Measurement(step=1, metrics={"accuracy": math.nan})])
        with store.snapshot("zero") as records:
            return [(trial.metrics, trial.reason, trial.output) for trial in records.trials()]

    with closing(SqliteStore(None)) as other:
        assert repr(played(store)) == repr(played(other))


def test_the_same_study_has_the_same_trials_as_on_sqlite(url: str) -> None:
    def played(store: Any, clock: FakeClock) -> list[Trial]:
        study = study_from_tables(budget={"trials": 60}, stopping={"rule": "median", "min_trials": 2})
        with closing(store):
            Controller(store).open(study)
            crew = Crew(
                client=Controller(store), study=study.name, workers=3, train=lambda t: {"score": t.params["lr"]}, clock=clock
            )
            crew.run()
            check_invariants(store, study.name)
            with store.snapshot(study.name) as records:
                return list(records.trials())

    one, other = FakeClock(), FakeClock()
    assert played(PostgresStore(url, clock=one), one) == played(SqliteStore(None, clock=other), other)


def test_the_clock_is_that_of_the_server_after_the_lock(opened: Open, store: PostgresStore, postgres: Server) -> None:
    before = time.time()
    with store.transaction("s") as records:
        first = records.now
        assert first == records.now
        later = threading.Thread(target=lambda: times.append(now_in(opened())))
        times: list[float] = []
        later.start()
        wait_until(lambda: bool(postgres.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'transactionid'")))
        with psycopg.connect(postgres.url()) as connection:
            held = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    later.join()
    assert held is not None
    assert before - 60 < first <= held[0] <= times[0]


def now_in(store: PostgresStore) -> float:
    with store.transaction("s") as records:
        return records.now


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


# Locks


def test_transactions_on_one_study_exclude_each_other_and_none_is_lost(opened: Open, store: PostgresStore) -> None:
    def count_up() -> None:
        mine = opened()
        for _ in range(20):
            with mine.transaction("s") as records:
                records.redefine(str(int(records.definition()) + 1))

    with store.transaction("s") as records:
        records.redefine("0")
    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    with store.snapshot("s") as records:
        assert records.definition() == "80"


def test_studies_do_not_block_each_other_and_a_reader_blocks_no_writer(opened: Open, store: PostgresStore) -> None:
    other = opened()
    other.create("t", "{}")
    with store.transaction("s"), other.transaction("t") as records:
        records.redefine("new")
    with store.snapshot("t") as before, other.transaction("t") as records:
        records.redefine("newer")
        assert before.definition() == "new"


def test_the_server_ends_a_transaction_that_a_suspended_process_holds(store: PostgresStore) -> None:
    with store.transaction("s") as records:
        shown = records._connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar()
        assert shown == "1min"
    with store.snapshot("s") as records:
        assert records._connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar() == "0"
        assert records._connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "repeatable read"
        assert records._connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on"


# Waiting


def listening_store(opened: Open) -> PostgresStore:
    """A store that listens: its first wait returns at once."""
    store = opened()
    with store.transaction("s"):
        pass
    store.wait_for_change(60)
    return store


def commit(store: PostgresStore) -> None:
    with store.transaction("s") as records:
        records.redefine("new")


def seconds_of_wait(store: PostgresStore, seconds: float) -> float:
    begun = time.monotonic()
    store.wait_for_change(seconds)
    return time.monotonic() - begun


def test_a_commit_between_the_last_transaction_and_the_wait_is_not_missed(opened: Open, store: PostgresStore) -> None:
    waiting = listening_store(opened)
    for _ in range(5):
        with waiting.transaction("s"):
            pass
        commit(store)
        assert seconds_of_wait(waiting, 60) < 30


def test_a_commit_ends_the_wait_of_every_process(opened: Open, store: PostgresStore, postgres: Server) -> None:
    waiting = [listening_store(opened) for _ in range(3)]
    for each in waiting:
        with each.transaction("s"):
            pass
    threads = [threading.Thread(target=each.wait_for_change, args=(100,)) for each in waiting]
    for thread in threads:
        thread.start()
    commit(store)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_threads_that_share_a_store_are_all_woken(opened: Open, store: PostgresStore) -> None:
    shared = listening_store(opened)
    marked, woken = threading.Barrier(4), []

    def wait() -> None:
        with shared.transaction("s"):
            pass
        marked.wait()
        woken.append(seconds_of_wait(shared, 100))

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    marked.wait()
    commit(store)
    for thread in threads:
        thread.join(60)
    assert len(woken) == 3


def test_a_transaction_that_wrote_nothing_and_another_study_wake_nobody(opened: Open, store: PostgresStore) -> None:
    waiting = listening_store(opened)
    store.create("t", "{}")
    with waiting.transaction("s"):
        pass
    with store.transaction("s"), store.transaction("t") as records:
        records.redefine("new")
    assert seconds_of_wait(waiting, 0.3) >= 0.3


@pytest.mark.parametrize("during", [True, False])
def test_a_lost_listening_connection_is_replaced(opened: Open, store: PostgresStore, postgres: Server, during: bool) -> None:
    waiting = listening_store(opened)
    with waiting.transaction("s"):
        pass
    thread = threading.Thread(target=waiting.wait_for_change, args=(100,))
    if during:
        thread.start()
    ended = "SELECT count(pg_terminate_backend(pid, 60000)) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
    assert postgres.execute(ended) != [(0,)]
    if not during:
        thread.start()
    thread.join(60)
    assert not thread.is_alive()
    waiting.wait_for_change(100)  # it listens again
    with waiting.transaction("s"):
        pass
    commit(store)
    assert seconds_of_wait(waiting, 60) < 30


def test_who_waits_while_no_connection_can_be_had_does_not_spin(
    opened: Open, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_RECONNECT_SECONDS", 0.2)
    store._listener = listening.Listener(PostgresStoreAddress.nowhere())
    with store.transaction("s"):
        pass
    assert seconds_of_wait(store, 60) >= 0.2


class PostgresStoreAddress:
    """An address where no server listens."""

    @staticmethod
    def nowhere() -> Any:
        from broodline.storage.postgres.address import address_of

        return address_of("postgresql://postgres@127.0.0.1:1/db")


# Lost connections


def test_a_restart_between_two_calls_costs_none_and_a_server_that_is_down_is_waited_for(
    postgres: Server, store: PostgresStore
) -> None:
    study = recorded(store)
    study.complete({"accuracy": 0.5})
    postgres.stop()
    with pytest.raises(StoreUnavailable, match=r"postgresql://postgres@127\.0\.0\.1"):
        study.complete({"accuracy": 0.6})
    postgres.start()
    study.complete({"accuracy": 0.6})
    postgres.restart()
    with store.snapshot("digits") as records:
        assert records.progress().completed == 2


def test_a_connection_that_ends_within_a_transaction_changes_nothing(postgres: Server, store: PostgresStore) -> None:
    def write() -> None:
        with store.transaction("s") as records:
            postgres.execute("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = 'broodline'")
            records.redefine("new")

    with pytest.raises(StoreUnavailable):
        write()
    with store.transaction("s") as records:
        assert records.definition() == "{}"


def test_a_server_that_became_a_standby_is_waited_for(store: PostgresStore) -> None:
    def write() -> None:
        with store.transaction("s") as records:
            records._connection.exec_driver_sql("SET TRANSACTION READ ONLY")
            records.redefine("new")

    with pytest.raises(StoreUnavailable, match="read-only"):
        write()


def test_too_many_connections_are_waited_for(postgres: Server, url: str) -> None:
    postgres.execute("DROP ROLE IF EXISTS crowded; CREATE ROLE crowded SUPERUSER LOGIN")
    postgres.execute("ALTER ROLE crowded NOSUPERUSER CONNECTION LIMIT 0")
    with pytest.raises(StoreUnavailable, match="too many connections"):
        open_store(url.replace("postgres@", "crowded@"))


def test_a_commit_whose_answer_is_lost_is_repeated_without_a_second_effect(postgres: Server, url: str) -> None:
    """The server commits, and the connection is cut before the worker gets to know."""
    with Proxy(postgres.port) as proxy, closing(open_store(url.replace(f":{postgres.port}/", f":{proxy.port}/"))) as store:
        study = Recorded(store)
        study.controller.open(parse({**DOCUMENT}, "test"))
        for number in range(6):
            trial = study.ask()
            proxy.cut_after = lambda request: b"COMMIT\0" in request
            with pytest.raises(StoreUnavailable):
                study.complete({"accuracy": 0.1 * number})
            proxy.cut_after = lambda _: False
            with closing(open_store(url)) as direct, direct.snapshot("digits") as records:
                assert (records.progress().completed, records.progress().trials) == (number + 1, number + 2)
            study.complete({"accuracy": 0.1 * number})
            following = study.answers["0"]
            assert isinstance(following, Start)
            assert (following.trial.number, following.trial.attempt) == (trial.number + 1, 1)
        with store.snapshot("digits") as records:
            assert (records.progress().completed, records.progress().trials) == (6, 7)
        check_invariants(store, "digits")
    assert proxy.cuts == 6


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *((code, StoreUnavailable) for code in ("08000", "08006", "57P01", "57P02", "57P03", "25006", "40001", "40P01")),
        *((code, StoreUnavailable) for code in ("53300", "53200", "53100", "55P03", "58030", "25P03")),
        *((code, StoreError) for code in ("42501", "42P01", "22021", "XX001")),
    ],
)
def test_errors_that_can_pass_are_told_from_others(store: PostgresStore, code: str, kind: type[Exception]) -> None:
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '{code}'; END $$"
    with pytest.raises(kind) as raised, store.transaction("s") as records:
        records._connection.execute(sa.text(raising))
    assert type(raised.value).__mro__.index(kind) < 2
    assert "made up" in str(raised.value)
