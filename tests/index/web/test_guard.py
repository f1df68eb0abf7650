"""Who is refused, line by line: wrong hosts, other sites, no key, too much."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from index.web import api, guard, pages, static
from index.web.guard import POLICY, allowed_hosts
from index.web.service import Service
from tests.support.site import COOKIE, HOST, KEY, PORT, client_of
from vsearch.image.decode import decode_bytes

ROUTES = ("/", "/p/1", "/api/search?q=dog", "/thumb/1", "/photo/1", "/openapi.json", "/healthz", "/static/x/style.css")
PRIVATE = ("/api/search?q=dog", "/api/info", "/thumb/1", "/photo/1", "/api/picture/1")


@pytest.mark.parametrize("host", [f"127.0.0.1:{PORT}", f"localhost:{PORT}", f"LOCALHOST:{PORT}", f"[::1]:{PORT}",
                                  "photos.example", f"photos.example:{PORT}"])  # fmt: skip
def test_our_own_names(client: TestClient, host: str) -> None:
    assert client.get("/api/info", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "127.0.0.1:80", "evil.example", f"evil.example:{PORT}", "",
             f"127.0.0.1:{PORT}.evil.example", f"127.0.0.1:{PORT}@evil.example", "0.0.0.0:8765",
             f"photos.example:{PORT}0"]
)  # fmt: skip
@pytest.mark.parametrize("route", ROUTES)
def test_another_host_is_misdirected(client: TestClient, host: str, route: str) -> None:
    found = client.get(route, headers={"host": host})
    assert found.status_code == 421
    assert found.headers["content-type"] == "application/problem+json"
    assert found.json()["title"] == "Misdirected Request" and found.json()["hint"]


def test_two_hosts_are_none(service: Service) -> None:
    with client_of(service) as client:
        assert client.get("/healthz", headers=[("host", HOST), ("host", HOST)]).status_code == 421


def test_the_names_without_a_proxy() -> None:
    assert allowed_hosts(80) == {"127.0.0.1:80", "localhost:80", "[::1]:80"}


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("route", PRIVATE)
def test_another_site_gets_nothing(client: TestClient, site: str, route: str) -> None:
    assert client.get(route, headers={"sec-fetch-site": site}).status_code == 403


@pytest.mark.parametrize("site", ["same-origin", "none"])
@pytest.mark.parametrize("route", PRIVATE)
def test_our_own_page_and_the_address_bar_do(client: TestClient, site: str, route: str) -> None:
    headers = {"sec-fetch-site": site, "origin": "https://evil.example"}  # the first says it all
    assert client.get(route, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", f"http://{HOST}.evil.example"]
)
@pytest.mark.parametrize("route", PRIVATE)
def test_an_old_browser_is_judged_by_its_origin(client: TestClient, origin: str, route: str) -> None:
    assert client.get(route, headers={"origin": origin}).status_code == 403
    assert client.get(route, headers={"origin": f"http://{HOST}"}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_another_site_changes_nothing(client: TestClient, method: str) -> None:
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
        for route in ("/", "/api/search", "/healthz/x", "/p/1"):
            assert client.request(method, route, headers=headers).status_code == 403


def test_no_answer_ever_allows_another_origin(client: TestClient) -> None:
    for route in ROUTES:
        for method in ("GET", "OPTIONS"):
            found = client.request(method, route, headers={"sec-fetch-site": "none", "origin": "https://evil.example"})
            assert not [name for name in found.headers if name.startswith("access-control")]
            assert found.headers["cross-origin-resource-policy"] == "same-origin"


def test_every_answer_carries_the_headers_of_security(client: TestClient, service: Service) -> None:
    with client_of(service, key=None) as stranger:
        answers = [client.get(route) for route in (*ROUTES, "/none", "/p/999")]
        answers += [stranger.get("/"), client.get("/", headers={"host": "evil.example"}), client.post("/api/search")]
    for found in answers:
        assert found.headers["content-security-policy"] == POLICY
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["referrer-policy"] == "no-referrer"
        assert found.headers["cache-control"]
    assert "unsafe" not in POLICY and "*" not in POLICY and "data:" not in POLICY


# ---- the key


@pytest.mark.parametrize("route", [route for route in ROUTES if route != "/healthz"])
@pytest.mark.parametrize("key", [None, "", "wrong", KEY + "x", KEY[:-1], "sch\u00f6n"])
def test_without_the_key_nothing_is_said(service: Service, route: str, key: str | None) -> None:
    with client_of(service, key=None) as client:
        headers = [] if key is None else [(b"cookie", f"{COOKIE}={key}".encode())]
        assert client.get(route, headers=headers).status_code == 401
        if key is not None:
            assert client.get(route, headers=[(b"authorization", f"Bearer {key}".encode())]).status_code == 401


def test_healthz_needs_no_key(service: Service) -> None:
    with client_of(service, key=None) as client:
        found = client.get("/healthz")
        assert found.status_code == 204 and found.content == b""


def test_the_printed_address_becomes_a_cookie(service: Service) -> None:
    with client_of(service, key=None) as client:
        found = client.get(f"/?q=dog&key={KEY}&in=%2Fa%26b")
        assert found.status_code == 303 and found.headers["location"] == "/?q=dog&in=%2Fa%26b"
        cookie = found.headers["set-cookie"].lower()
        assert cookie.startswith(f"{COOKIE}={KEY}") and "httponly" in cookie and "samesite=strict" in cookie
        assert client.get("/").status_code == 200  # the client kept it
        assert client.get(f"/?key={KEY}").headers["location"] == "/"


def test_a_wrong_key_in_the_address(service: Service) -> None:
    with client_of(service, key=None) as client:
        found = client.get("/?key=wrong")
        assert found.status_code == 401 and "set-cookie" not in found.headers and "the server has printed" in found.text


def test_the_key_leads_to_no_other_server(service: Service) -> None:
    with client_of(service, key=None) as client:
        found = client.request("GET", f"http://{HOST}//evil.example/?key={KEY}")
        assert found.headers["location"] == "/evil.example/"


def test_programs_send_the_key_as_a_bearer(service: Service) -> None:
    with client_of(service, key=None) as client:
        assert client.get("/api/info", headers={"authorization": f"Bearer {KEY}"}).status_code == 200
        assert client.get("/api/info").headers["www-authenticate"] == "Bearer"


# ---- no paths, no inline code


PATHS = ("/thumb/..%2f..%2fetc%2fpasswd", "/photo//etc/passwd", "/photo/%2Fetc%2Fpasswd", "/static/../app.py",
         "/static/x/..%2fapp.py", "/thumb/1.jpg", "/photo/1e3", "/photo/0", "/photo/-1", "/photo/9223372036854775808",
         "/p/abc", "/api/picture/1%00")  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_path_leads_to_no_file(client: TestClient, path: str) -> None:
    found = client.get(path)
    assert found.status_code in (404, 405, 422)
    assert b"root:" not in found.content and b"import" not in found.content


def test_no_route_has_a_parameter_for_paths() -> None:
    routes = [str(getattr(route, "path", "")) for part in (api, pages, static) for route in part.router.routes]
    assert len(routes) >= 12
    assert not [route for route in routes if ":path" in route]
    numbered = [route for route in routes if "{" in route]
    assert {route[route.index("{") :] for route in numbered} == {"{id}", "{v}/{name}"}


def test_websockets_are_refused(client: TestClient) -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/"):
        pass


# ---- too much


def test_a_long_body_is_refused_by_its_head(client: TestClient) -> None:
    found = client.post("/api/search", content=b"x", headers={"content-length": str(33 << 20)})
    assert found.status_code == 413 and found.json()["detail"] == "more than 32 MB"
    assert client.post("/api/search", content=b"", headers={"content-length": "-1"}).status_code == 413


def test_a_long_body_is_refused_whatever_its_head_says(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "LIMIT", 10_000)
    body = b"".join(
        [b"--b\r\n", b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n', os.urandom(20_000)]
    )
    headers = {"content-type": "multipart/form-data; boundary=b"}
    found = client.post("/api/search", content=iter([body]), headers=headers)  # chunked: no length
    assert found.status_code == 413


def test_two_uploads_at_a_time(service: Service, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four are sent: never more than two are inside, and all are answered."""
    inside, most, lock = 0, 0, threading.Lock()
    meet = threading.Event()
    real = decode_bytes

    def slow(data: bytes, **how: int) -> object:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        meet.wait(0.2)
        with lock:
            inside -= 1
        return real(data, **how)

    monkeypatch.setattr(api, "decode_bytes", slow)
    data = (place / "photos" / "001.jpg").read_bytes()
    codes: list[int] = []
    with client_of(service) as client:
        threads = [
            threading.Thread(target=lambda: codes.append(client.post("/api/search", files={"file": data}).status_code))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert codes == [200] * 4
    assert most == 2
