"""Attacks on a real service. docs/security.md has a row for each; a service is not harmed, and tells a stranger nothing."""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
from serving import TOKENS, Service, SharedClock, serving, serving_by_clock, write_tokens

from broodline.controller.client import Start, WorkerSession
from broodline.core.trial import Measurement
from broodline.errors import LeaseLost, StoreError, StoreUnavailable, UsageError
from broodline.service.auth import make_tokens, own_token, read_tokens
from broodline.service.http_client import Requests, requests_to
from broodline.storage.checkpoints.base import checkpoint_of
from broodline.testing import study_from_tables

STUDY = study_from_tables(budget={"trials": 40})
SESSION = WorkerSession(worker="0", session="a")
ASK = {"worker": "0", "session": "a"}
LIMITS = {"body": 100_000, "connections": 20, "head_seconds": 1.0, "body_seconds": 1.0}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("attacked")
    with serving_by_clock(directory, SharedClock(directory / "clock"), **LIMITS) as service:
        with closing(service.client()) as client:
            client.open(STUDY)
        yield service


@pytest.fixture(autouse=True)
def unharmed(service: Service) -> Iterator[None]:
    """After each attack the service answers, its records are what they were, and its log holds no traceback and no token."""
    yield
    with closing(service.requests("reader")) as requests:
        assert requests.send("GET", "/studies") == {"studies": [STUDY.name]}
    assert service.process.poll() is None
    errors = service.errors.read_text()
    assert "Traceback" not in errors, errors
    assert not any(token in errors for token in TOKENS.values())


def sent(
    service: Service, method: str, path: str, body: bytes | None = None, *, role: str | None = "admin", **headers: str
) -> tuple[int, Any]:
    """The status and the document of the answer to a raw request."""
    given = {"Content-Type": "application/json"} | ({} if role is None else {"Authorization": f"Bearer {TOKENS[role]}"})
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)) as connection:
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        assert answer.headers["Content-Type"] == "application/json"
        return answer.status, json.loads(answer.read())


def posted(service: Service, path: str, document: Any, **options: Any) -> tuple[int, Any]:
    return sent(service, "POST", path, json.dumps(document).encode(), **options)


def paths(service: Service) -> list[tuple[str, str]]:
    described = sent(service, "GET", "/v1/openapi.json")[1]["paths"]
    found = [(method.upper(), path) for path, methods in described.items() for method in methods]
    assert len(found) > 25
    return [(method, path.replace("{study}", STUDY.name).replace("{number}", "0")) for method, path in found]


# Tokens


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer x", "Basic YTpi", "Bearer " + TOKENS["admin"][:-1], "bearer\t"])
def test_without_a_known_token_no_path_tells_anything(service: Service, header: str | None) -> None:
    options: dict[str, str] = {} if header is None else {"Authorization": header}
    for method, path in [*paths(service)[:3], ("GET", "/v1/openapi.json"), ("GET", "/"), ("GET", "/v1/nothing")]:
        status, document = sent(service, method, path, b"{}", role=None, **options)
        assert status in (401, 429), path
        assert document["code"] in ("unauthorized", "too_many_requests")


def test_no_path_is_served_without_a_token(service: Service) -> None:
    assert {sent(service, method, path, b"{}", role=None)[0] for method, path in paths(service)} == {401}
    assert sent(service, "GET", "/health", role=None) == (200, {"status": "ok"})


def test_a_role_does_what_it_may_and_no_more(service: Service) -> None:
    for method, path in paths(service):
        admin = method == "DELETE" or path.endswith("/end") or (method == "PUT" and not path.endswith("/files"))
        refused = [role for role in ("reader", "worker") if sent(service, method, path, b"[]", role=role)[0] == 403]
        assert refused == ([] if method == "GET" else ["reader", "worker"] if admin else ["reader"]), (method, path)


def test_wrong_tokens_are_slowed_down_and_a_right_one_is_not(tmp_path: Path) -> None:
    with serving(tmp_path) as other:
        statuses = [sent(other, "GET", "/v1/studies", role=None, Authorization=f"Bearer {n}")[0] for n in range(40)]
        assert statuses[0] == 401
        assert statuses[-1] == 429
        assert sent(other, "GET", "/v1/studies")[0] == 200


def test_tokens_are_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each comparison is of hashes, by `compare_digest`, and all are made whichever is equal."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    tokens = read_tokens(write_tokens(tmp_path))
    monkeypatch.setattr("broodline.service.auth.hmac.compare_digest", compare)
    for token in ("x", *TOKENS.values()):
        compared.clear()
        tokens.role_of(token.encode())
        assert len(compared) == len(TOKENS)
        assert {len(each) for pair in compared for each in pair} == {32}


def test_no_token_is_in_the_process_list_the_store_or_the_output(service: Service, tmp_path: Path) -> None:
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    seen = " ".join(line for line in lines if "schemathesis" not in line)  # which another test gives a token as an argument
    stored = b"".join(path.read_bytes() for path in service.tokens.parent.glob("broodline.db*") if path.is_file())
    for token in TOKENS.values():
        assert token not in seen
        assert token.encode() not in stored


def test_a_url_that_holds_a_secret_is_refused_and_not_repeated() -> None:
    for url in ("http://user:s3cret@host", "http://s3cret@host", "http://host?token=s3cret"):
        with pytest.raises(StoreError) as refused:
            requests_to(url, {})
        assert "s3cret" not in str(refused.value)


def test_a_token_file_is_made_for_its_owner_alone_and_refused_if_others_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    make_tokens(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(read_tokens(path).roles) == 3
    assert f"admin {own_token({'BROODLINE_TOKEN_FILE': str(path)})}\n" in path.read_text()
    with pytest.raises(UsageError):
        make_tokens(path)
    path.chmod(0o640)
    for read in (lambda: read_tokens(path), lambda: own_token({"BROODLINE_TOKEN_FILE": str(path)})):
        with pytest.raises(UsageError, match="chmod 600"):
            read()


@pytest.mark.parametrize(
    "text", ["", "admin", "root 0123456789abcdef0", "admin a b c", "admin short", "admin 0123456789abcdef\x7f"]
)
def test_a_token_file_with_a_mistake_is_refused_without_its_tokens(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        read_tokens(path)
    assert "0123456789" not in str(refused.value)


def test_the_service_listens_to_this_machine_and_to_no_other_without_tokens(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "broodline", "serve", "--store", f"sqlite:///{tmp_path / 'x.db'}", "--port", "0"]
    done = subprocess.run([*command, "--host", "0.0.0.0"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "there are no tokens" in done.stderr) == (2, True)
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert "made" in process.stdout.readline()
        assert process.stdout.readline().split()[-1].startswith("http://127.0.0.1:")
        listening = {each.laddr.ip for each in psutil.Process(process.pid).net_connections() if each.status == "LISTEN"}
        assert listening == {"127.0.0.1"}
        assert stat.S_IMODE((tmp_path / "broodline.tokens").stat().st_mode) == 0o600
    finally:
        process.kill()
        process.communicate()


# Browsers


HOSTS = ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::2]", "localhost.", "127.0.0.1:1:2")


@pytest.mark.parametrize("host", HOSTS)
def test_a_name_that_was_rebound_to_this_machine_is_refused(service: Service, host: str) -> None:
    assert sent(service, "GET", "/v1/studies", Host=host)[0] == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1", ""])
def test_no_page_of_a_browser_is_served(service: Service, origin: str) -> None:
    assert sent(service, "GET", "/v1/studies", Origin=origin)[0] == 403


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""])
def test_a_body_that_a_form_can_send_is_refused(service: Service, kind: str) -> None:
    assert posted(service, f"/v1/studies/{STUDY.name}/ask", ASK, Content_Type=kind)[0] == 415


# Names


NO_STUDIES = (
    *("..", "../x", "..%2f..%2fetc%2fpasswd", "%2e%2e", "a/b", "a%00b", "a b", "x" * 101),
    *(".x", "ä", "a\b", "%0a"),
)


@pytest.mark.parametrize("name", NO_STUDIES)
def test_a_study_is_no_path(service: Service, name: str) -> None:
    quoted = name if "%" in name else quote(name)
    assert sent(service, "GET", f"/v1/studies/{quoted}")[0] in (400, 404, 422)
    status, _ = posted(service, f"/v1/studies/{quoted}/ask", ASK)
    assert status in (400, 404, 405, 422)


@pytest.mark.parametrize(
    "name",
    [
        *("../../etc/passwd", "/etc/passwd", "checkpoints/../../x", "checkpoints/000000.1/../x", "checkpoints/000000.2"),
        *("checkpoints/000001.1", "checkpoints/0.1", "checkpoints\\000000.1", "checkpoints/000000.1\n", "", "file:///x"),
    ],
)
def test_a_checkpoint_has_the_name_of_its_attempt_and_no_other(service: Service, name: str) -> None:
    body = {**ASK, "attempt": 1, "measurements": [], "checkpoint": name}
    assert posted(service, f"/v1/studies/{STUDY.name}/trials/0/complete", body)[0] == 422


@pytest.mark.parametrize("number", ["-1", "99999999999", "1e3", "0x1", "1.5", "%31%00", "٣", "0_1", "None"])
def test_a_trial_is_a_number(service: Service, number: str) -> None:
    quoted = number if "%" in number else quote(number)
    assert sent(service, "GET", f"/v1/studies/{STUDY.name}/trials/{quoted}")[0] in (400, 404, 422)


@pytest.mark.parametrize("name", ["", "x" * 201, "a\x00b", "a\nb", 7, None, ["a"], "\x7f"])
@pytest.mark.parametrize("key", ["worker", "session"])
def test_a_worker_is_a_short_printable_string(service: Service, key: str, name: Any) -> None:
    assert posted(service, f"/v1/studies/{STUDY.name}/ask", {**ASK, key: name})[0] == 422


def test_a_definition_is_checked_as_a_study_file_is(service: Service) -> None:
    path = f"/v1/studies/{STUDY.name}"
    for definition in (
        {},
        {"name": STUDY.name},
        {"name": "../x"},
        {"__class__": "os.system"},
        {"name": STUDY.name, "train": {"command": ["id"]}},
    ):
        assert sent(service, "PUT", path, json.dumps({"definition": definition}).encode())[0] == 422
    assert sent(service, "PUT", path, json.dumps({"definition": None}).encode())[0] == 422


# Bodies


@pytest.mark.parametrize(
    ("body", "status"),
    [
        *((b"", 400), (b"{", 400), (b"[]", 422), (b"null", 422), (b'"x"', 422), (b"\xff\xfe", 400), (b"NaN", 400)),
        *((b'{"worker": "0", "session": "a", "wait": NaN}', 400), (b'{"worker": "0", "session": "a", "wait": 1e999}', 400)),
        *((b'{"worker": "0", "session": "a", "wait": -1}', 422), (b'{"worker": "0", "session": "a", "wait": 3600}', 422)),
        *((b'{"worker": "0", "session": "a", "wait": "1"}', 422), (b'{"worker": "0", "session": "a", "more": 1}', 422)),
        *((b'{"worker": "0", "worker": "1", "session": "a"}', 400), (b'{"worker": "\\ud800", "session": "a"}', 400)),
        *((b"[" * 90_000, 400), (b'{"a":' * 15_000, 400), (b"9" * 90_000, 400), (b'{"worker": ' + b"9" * 400 + b"}", 400)),
    ],
)
def test_hostile_json_is_refused(service: Service, body: bytes, status: int) -> None:
    assert sent(service, "POST", f"/v1/studies/{STUDY.name}/ask", body)[0] == status


@pytest.mark.parametrize("step", [-1, 2**53 + 1, 10**30, 1.0, "1", True, None])
def test_a_measurement_has_a_step_that_a_database_can_hold(service: Service, step: Any) -> None:
    body = {"attempt": 1, "index": 1, "measurements": [{"step": step, "metrics": {}}]}
    assert posted(service, f"/v1/studies/{STUDY.name}/trials/0/report", body)[0] == 422


def test_an_oversized_body_is_refused_by_its_length_and_by_its_bytes(service: Service) -> None:
    head = ask_head()
    assert b" 413 " in raw(service, f"{head}Content-Length: 100000000\r\n\r\n".encode())
    chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
    assert b" 413 " in raw(service, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk * 30)
    assert b" 415 " in raw(service, f"{head}Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{{}}".encode())


def ask_head() -> str:
    """The head of a request to ask, up to its length."""
    lines = (
        f"POST /v1/studies/{STUDY.name}/ask HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {TOKENS['worker']}",
        "Content-Type: application/json",
    )
    return "".join(f"{line}\r\n" for line in lines)


def raw(service: Service, data: bytes, *, seconds: float = 20.0) -> bytes:
    """What the service answers to some bytes until it closes the connection."""
    received = b""
    with closing(socket.create_connection(("127.0.0.1", service.port), timeout=seconds)) as connection:
        with suppress(OSError):  # the service may close before it has read all
            connection.sendall(data)
        with suppress(ConnectionError):
            while chunk := connection.recv(1 << 16):
                received += chunk
    return received


def test_a_slow_body_a_slow_head_and_silence_end_in_time(service: Service) -> None:
    head = ask_head()
    assert b" 408 " in raw(service, f"{head}Content-Length: 100\r\n\r\n{{".encode())
    assert raw(service, head.encode()) == b""
    assert raw(service, b"") == b""
    assert b" 200 " not in raw(service, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 100_000)


def test_malformed_requests_are_refused(service: Service) -> None:
    heads = (b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    for data in (b"\x16\x03\x01\x02\x00\x01\x00", b"\x00" * 100, *heads):
        answer = raw(service, data)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 421", b"HTTP/1.1 505")), answer
    doubled = f"GET /v1/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil\r\nAuthorization: Bearer {TOKENS['admin']}\r\n\r\n"
    assert b" 400 " in raw(service, doubled.encode())


def test_connections_are_bounded_and_the_bound_is_released(service: Service) -> None:
    opened = [socket.create_connection(("127.0.0.1", service.port), timeout=20) for _ in range(60)]
    try:
        closed = 0
        for connection in opened:
            connection.settimeout(0.2)
            with suppress(TimeoutError, ConnectionError):
                closed += connection.recv(1) == b""
        assert closed >= 40
    finally:
        for connection in opened:
            connection.close()


def test_a_rate_above_the_limit_is_refused_for_a_moment(tmp_path: Path) -> None:
    with serving(tmp_path, "--max-rate", "5") as slow, closing(slow.requests()) as requests:

        def ask_often() -> None:
            for _ in range(50):
                requests.send("GET", "/studies")

        with pytest.raises(StoreUnavailable, match="too many requests"):
            ask_often()


# Replayed and reordered calls


def test_replayed_and_reordered_calls_change_nothing(service: Service) -> None:
    study = study_from_tables(name="replayed", budget={"trials": 40})
    with closing(service.client()) as client, closing(service.requests("reader")) as reader:
        client.open(study)
        first = client.ask(study.name, SESSION)
        assert isinstance(first, Start)
        trial, reported = first.trial, [Measurement(step=5, metrics={"score": 1.0})]
        last = [Measurement(step=trial.end, metrics={"score": 2.0})]

        def complete() -> Any:
            return client.complete(study.name, trial.number, trial.attempt, last, checkpoint_of(trial), SESSION)

        for index in (2, 1, 2):
            client.report(study.name, trial.number, trial.attempt, reported, index)
        second = complete()
        assert complete() == second
        with pytest.raises(LeaseLost):
            client.report(study.name, trial.number, trial.attempt, reported, 3)
        with pytest.raises(LeaseLost):
            client.fail(study.name, trial.number, trial.attempt, [], "late", "", SESSION)
        document = reader.send("GET", f"/studies/{study.name}/trials/0/measurements")
        assert [measurement["step"] for measurement in document["measurements"]] == [5, 10]
        client.delete(study.name)


# TLS


def test_the_certificate_of_the_service_is_checked(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    made += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *subject], check=True, capture_output=True)
    with serving(tmp_path, "--tls-cert", str(certificate), "--tls-key", str(key)) as secure:
        assert secure.url.startswith("https://")
        with pytest.raises(StoreError, match="not trusted"):
            secure.requests().send("GET", "/studies")
        trusted = secure.requests(authority=str(certificate))
        assert trusted.send("GET", "/studies") == {"studies": []}
        trusted.close()
        plain = Requests(secure.url.replace("https", "http"), token=TOKENS["admin"])
        with pytest.raises((StoreUnavailable, StoreError)):
            plain.send("GET", "/studies")


# The whole description, by a machine


@pytest.mark.timeout(600)
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    with serving(tmp_path) as target:
        with closing(target.client()) as client:
            client.open(STUDY)
        description = tmp_path / "openapi.json"
        description.write_text(json.dumps(sent(target, "GET", "/v1/openapi.json")[1]))
        conformance = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")
        checks = ("not_a_server_error", "ignored_auth", *conformance)
        command = [
            *(str(Path(sys.executable).with_name("schemathesis")), "run", str(description), "--url", target.url),
            *("--header", f"Authorization: Bearer {TOKENS['admin']}", "--checks", ",".join(checks)),
            *("--max-examples", os.environ.get("BROODLINE_SCHEMATHESIS", "10"), "--seed", "1", "--no-color"),
            *("--phases", "examples,coverage,fuzzing", "--request-timeout", "60", "--generation-database", "none"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert "Traceback" not in target.errors.read_text()
