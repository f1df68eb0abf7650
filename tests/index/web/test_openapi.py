"""The server is what /openapi.json says: it is asked what keeps to the description, and what does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as some
from starlette.testclient import TestClient

from index.web.app import make_app, make_guarded
from index.web.guard import allowed_hosts
from tests.support.site import COOKIE, HOST, KEY, PORT, build, make_service

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi import checks  # noqa: E402

COUNT = 6
HEADERS = {"Host": HOST, "Authorization": f"Bearer {KEY}"}
HELD = (
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
)
OPERATIONS = (
    *(
        "GET /api/search",
        "POST /api/search",
        "GET /api/similar/{id}",
        "GET /api/picture/{id}",
        "PATCH /api/picture/{id}",
    ),
    *("GET /api/attention/{id}", "GET /api/where/{id}", "GET /api/words", "GET /api/folders", "GET /api/info"),
    *("GET /api/map", "GET /api/time", "POST /api/vote", "DELETE /api/vote", "GET /api/votes", "POST /api/sidecar"),
    *("POST /api/check", "GET /thumb/{id}", "GET /photo/{id}", "GET /healthz"),
)


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    place = tmp_path_factory.mktemp("openapi")
    build(place, COUNT)
    service = make_service(place)
    schema = schemathesis.openapi.from_dict(make_app(service).openapi())
    schema.app = make_guarded(service, allowed_hosts(PORT), KEY, COOKIE)
    schema.config.update(base_url=f"http://{HOST}")
    yield schema
    service.close()


def test_all_operations_are_tried(schema: Any) -> None:
    found = [result.ok() for result in schema.get_all_operations()]
    assert {f"{one.method.upper()} {one.path}" for one in found} == set(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_answers_are_as_described(schema: Any, operation: str) -> None:
    method, path = operation.split()
    described = schema[path][method]
    modes = schemathesis.GenerationMode
    made = [described.as_strategy(generation_mode=modes.POSITIVE)]
    if described.definition.raw.get("parameters") or described.definition.raw.get("requestBody"):
        made.append(described.as_strategy(generation_mode=modes.NEGATIVE))
    seen = set()

    @settings(max_examples=24, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(case=some.one_of(made))
    def run(case: Any) -> None:
        id_ = (case.path_parameters or {}).get("id")
        if isinstance(id_, int) and id_ > 0:
            case.path_parameters["id"] = id_ % (COUNT + 2) + 1  # most of them are there
        answer = case.call(headers=HEADERS)
        seen.add(answer.status_code)
        case.validate_response(answer, checks=HELD)
        kept = case.meta is not None and case.meta.generation.mode == modes.POSITIVE
        if kept and operation != "POST /api/search":  # its form cannot say null
            assert answer.status_code != 422, answer.text

    run()
    assert seen & {200, 204, 400, 404, 415} and 421 not in seen


def test_the_description_states_bounds_key_and_problems(schema: Any) -> None:
    raw = schema.raw_schema
    search = raw["paths"]["/api/search"]["get"]
    [weight] = [one["schema"] for one in search["parameters"] if one["name"] == "like_weight"]
    assert (weight["minimum"], weight["maximum"]) == (-10, 10)
    assert (
        search["security"] == [{"HTTPBearer": []}]
        and "key" in raw["components"]["securitySchemes"]["HTTPBearer"]["description"]
    )
    assert list(search["responses"]["404"]["content"]) == ["application/problem+json"]
    assert "image/jpeg" in raw["paths"]["/photo/{id}"]["get"]["responses"]["200"]["content"]


@pytest.mark.parametrize("body", [{"ids": [True]}, {"ids": [0]}, {"ids": ["1"]}, {"ids": [1.5]}])
def test_ids_are_numbers_and_nothing_like_them(client: TestClient, body: dict[str, Any]) -> None:
    assert client.post("/api/sidecar", json=body).status_code == 422
