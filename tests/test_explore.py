"""The explorer's engines in Python: what is asked, what is answered, and by whom that can be asked."""

import asyncio
import http.client
import json
import math
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vgcore as vg
from served import served
from strategies import over_examples
from test_cli import run
from vgcore._core import InternalError
from vgcore.explore import page
from vgcore.explore import reply as replies
from vgcore.explore.reply import measure, plain, samples
from vgcore.explore.request import CHOICES, CONTROLS, DEFAULTS, FIXED, MOST_SECONDS, NAMES, Request
from vgcore.model.plan import Plan

#: What is quick to measure.
SMALL: dict[str, Any] = {"depth": 5, "width": 8, "seeds": 2, "batch": 8}


def read_json(value: Any) -> Any:
    """A reply's numbers as floats, as a page reads them."""
    return np.array(value, dtype=object if isinstance(value, str) else None).astype(float)


# Requests


def test_a_request_says_all_of_its_net() -> None:
    request = Request(depth=7, width=9, activation="gelu", sigma_w=1.25, norm="layer", norm_position="post")
    assert request.spec == vg.MLP(
        7, width=9, activation="gelu", init="mean_field(1.25, 0.05)", norm="layer", norm_position="post"
    )
    scaled = Request(depth=7, skip="residual", branch_scale=0.25, init="xavier_normal", data="spirals").spec
    assert scaled == vg.MLP(
        7,
        width=64,
        activation="tanh",
        init="xavier_normal",
        skip="residual",
        branch_scale=0.25,
        in_features=2,
        out_features=2,
    )


def test_what_a_request_leaves_out_is_at_its_default() -> None:
    assert Request.read({}) == Request() == Request.read(DEFAULTS)
    assert {*DEFAULTS} == {*CONTROLS} == {*NAMES} - {"theory"}
    assert Request.read(json.loads(json.dumps(Request(depth=3).to_dict()))) == Request(depth=3)


@pytest.mark.parametrize("name", CONTROLS)
def test_every_control_has_words_and_a_default_that_is_allowed(name: str) -> None:
    control = CONTROLS[name]
    assert control.label
    assert control.explanation.endswith(".")
    assert bool(control.choices) != bool(control.bounds)
    assert control.read(name, DEFAULTS[name]) == DEFAULTS[name]


@pytest.mark.parametrize("name", [name for name in CONTROLS if CONTROLS[name].bounds])
def test_numbers_are_taken_from_bound_to_bound(name: str) -> None:
    least, most = CONTROLS[name].bounds
    for value in (least, most):
        assert CONTROLS[name].read(name, value) == value
    for value in (least - 1, most + 1):
        with pytest.raises(ValueError, match=rf"^{name} must be "):
            CONTROLS[name].read(name, value)
    for wrong in (True, "1", None, [1]):
        with pytest.raises(TypeError, match=rf"^{name} must be "):
            CONTROLS[name].read(name, wrong)


def test_the_inits_left_out_are_those_that_draw_nothing() -> None:
    def draws(init: str) -> bool:
        plan = Plan.of(vg.MLP(2, width=8, out_features=2, skip="residual", init=init))
        maps = [*(layer.map for layer in plan.layers), plan.readout]
        return all(each is not None and each.weight_variance > 0 for each in maps)

    assert all(map(draws, CHOICES["init"]))
    assert not any(map(draws, FIXED))


@pytest.mark.parametrize(
    ("asked", "error", "sentence"),
    [
        (None, TypeError, "a request must be a JSON object, got None"),
        ([1], TypeError, "a request must be a JSON object"),
        ({"depht": 3}, ValueError, r"no field 'depht' \(did you mean 'depth'\?\)"),
        ({3: 3}, ValueError, "a request has no field 3; it has: depth, width"),
        ({"activation": "tahn"}, ValueError, r"unknown activation 'tahn' \(did you mean 'tanh'\?\)"),
        ({"init": "zeros"}, ValueError, "unknown init 'zeros'"),
        ({"sigma_w": math.nan}, ValueError, "sigma_w must be a number from 0.05 to 20, got nan"),
        ({"depth": 2.0}, TypeError, "depth must be an integer from 1 to 200, got 2.0"),
        ({"theory": 1}, TypeError, "theory must be True or False"),
        ({"steps": 10}, ValueError, "noise has nothing to learn: choose data='spirals', or steps=0"),
        ({"norm": "batch", "batch": 1}, ValueError, "batch of at least 2 samples"),
        ({"activation": "glu", "width": 3}, ValueError, "must be even"),
        ({"depth": 200, "width": 512}, ValueError, "this takes about 3 seconds, and 2 are the most here"),
    ],
)
def test_bad_requests_get_a_sentence(asked: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        Request.read(asked)


def test_the_longest_training_of_the_default_net_is_allowed_and_no_request_is_longer_than_its_limit() -> None:
    longest = Request(data="spirals", steps=500)
    assert longest.seconds <= MOST_SECONDS
    with pytest.raises(ValueError, match="lower depth, width, batch, seeds or steps"):
        Request(data="spirals", steps=500, width=128)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"activation": "relu", "init": "kaiming_normal"},
        {"norm": "rms", "norm_position": "input", "skip": "residual", "branch_scale": 0.5},
        {"skip": "highway", "init": "orthogonal", "in_features": 2, "out_features": 2},
        {"init": "mean_field(1.25, 0.5)", "activation": "erf"},
    ],
)
def test_a_spec_is_held_by_its_request(fields: dict[str, Any]) -> None:
    spec = vg.MLP(12, width=16, **fields)
    assert Request.of(spec).spec == spec


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"stem": 2, "skip": "residual"}, "stem=2, where it has stem=0"),
        ({"bias": False}, "bias=False, where it has bias=None"),
        ({"in_features": 784}, "in_features=784 and out_features=None, where it has as many features as the width"),
        ({"out_features": 10}, "leave both out to see the layers on noise"),
        ({"activation": "leaky_relu(0.3)"}, "activation='leaky_relu(negative_slope=0.3)' has a parameter of its own"),
        ({"init": "mean_field(1, 0, gain=2)"}, "init='mean_field(gain=2)', where it has init='mean_field'"),
        ({"init": "xavier_normal(gain=2)"}, "init='xavier_normal(gain=2)' has a parameter of its own"),
        ({"width": 1024}, "width must be an integer from 1 to 512, got 1024"),
        ({"width": [8] * 12}, "width must be an integer"),
        ({"skip": "residual", "branch_scale": "1/sqrt(L)"}, "branch_scale must be a number"),
    ],
)
def test_a_spec_that_no_request_holds_is_refused_with_what_is_in_the_way(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match="the explorer cannot show this net: ") as caught:
        Request.of(vg.MLP(12, **{"width": 8} | fields))
    assert reason in str(caught.value)


def test_a_spec_may_say_that_noise_is_as_wide_as_its_net() -> None:
    assert Request.of(vg.MLP(12, width=8, in_features=8)) == Request.of(vg.MLP(12, width=8))


def test_other_nets_than_an_mlp_are_refused() -> None:
    with pytest.raises(ValueError, match="the explorer shows an MLP, got RNN"):
        Request.of(vg.RNN(steps=3, width=4))


# Replies


def assert_columns(told: Mapping[str, Any], probe: vg.Probe) -> None:
    """Every number of a probe, to the bit."""
    assert told["first_nonfinite"] == probe.first_nonfinite.tolist()
    assert told["lost_below"] == probe.trace.lost_below.tolist()
    for name, values in told["columns"].items():
        np.testing.assert_array_equal(read_json(values), getattr(probe, name), err_msg=name)
    arrays = {name for name, value in vars(probe).items() if isinstance(value, np.ndarray) and value.dtype == float}
    assert {*told["columns"]} == arrays - {"x", "y"}


def assert_verdict(told: Mapping[str, Any], judged: vg.Diagnosis) -> None:
    assert told == {
        "verdict": judged.verdict,
        "direction": judged.direction,
        "conditions": list(judged.conditions),
        "confidence": judged.confidence,
        "word": judged.word,
        "summary": judged.summary,
        "depth_limit": "" if judged.depth_limit is None else str(judged.depth_limit),
    }


CASES: list[dict[str, Any]] = [
    {},
    {"depth": 30, "activation": "sigmoid", "init": "xavier_normal"},
    {"depth": 1, "seeds": 1, "batch": 1},
    {"depth": 60, "activation": "relu", "sigma_w": 20.0},
    {"activation": "swiglu", "depth": 40},
    {"norm": "batch", "skip": "residual", "branch_scale": 0.5, "seed": 7},
    {"norm": "layer", "norm_position": "input", "skip": "rezero"},
]


@pytest.mark.parametrize("asked", CASES, ids=str)
def test_a_reply_about_noise_is_what_probe_and_diagnose_say(asked: dict[str, Any]) -> None:
    request = Request.read(SMALL | asked)
    how: dict[str, Any] = {"seeds": request.seeds, "seed": request.seed, "batch": request.batch}
    probe = vg.probe(request.spec, **how, dtype="float32")
    told = measure(SMALL | asked)
    assert_columns(told, probe)
    assert_verdict(told["verdict"], vg.diagnose(request.spec, **how))
    assert told["loss"] is None
    assert Request.read(told["request"]) == request
    assert told["took_ms"] > 0
    built = vg.build_info()
    assert told["engine"].startswith(f"vgcore {vg.__version__}, {built['isa']}, {built['threads']} thread")


def test_a_reply_about_spirals_is_what_probe_says_on_them() -> None:
    asked = SMALL | {"data": "spirals", "activation": "relu", "init": "kaiming_normal", "seed": 3}
    x, y = vg.data.spirals()
    spec = Request.read(asked).spec
    probe = vg.probe(spec, x=x, y=y, loss="cross_entropy", batch=8, seeds=2, seed=3)
    told = measure(asked)
    assert_columns(told, probe)
    assert_verdict(told["verdict"], vg.diagnose(probe))
    assert told["loss"] == [[value, value] for value in probe.loss_value.tolist()]


def test_a_reply_after_training_is_what_probe_says_of_the_trained_nets() -> None:
    asked = SMALL | {"data": "spirals", "steps": 60, "lr": 0.3, "batch": 32, "width": 16}
    request = Request.read(asked)
    x, y = vg.data.spirals()
    run = vg.train(request.spec, x, y, optimizer="sgd(lr=0.3)", steps=60, batch=32, seeds=2)
    told = measure(asked)
    assert told["loss"] == np.stack([run.first_loss, run.final_loss], axis=1).tolist()
    assert (run.final_loss < run.first_loss).all()
    for i, net in enumerate(run.networks):
        probe = vg.probe(net, x=x, y=y, loss="cross_entropy", batch=32, seeds=1, seed=i)
        for name, values in told["columns"].items():
            np.testing.assert_array_equal(read_json(values)[i : i + 1], getattr(probe, name), err_msg=name)


def test_a_net_that_breaks_in_training_is_told_of_as_it_was_when_it_broke() -> None:
    asked = {"data": "spirals", "steps": 50, "depth": 50, "width": 16, "activation": "relu", "init": "kaiming_normal"}
    told = measure(asked | {"lr": 10.0, "seeds": 2})
    assert [last for _, last in told["loss"]] == ["inf", "inf"]
    assert "non-finite" in told["verdict"]["conditions"]
    assert min(told["first_nonfinite"]) >= 0


def test_the_page_and_the_core_get_one_set_of_spirals() -> None:
    x, y = samples()
    given, classes = vg.data.spirals()
    assert x.dtype == np.float32
    assert (x == given).all()
    assert (y == classes).all()


def test_theory_is_that_of_the_net_and_says_why_where_it_has_none() -> None:
    asked = SMALL | {"activation": "relu", "sigma_w": 1.25}
    told, theory = measure(asked)["theory"], vg.theory.predict(Request.read(asked).spec, batch=8)
    np.testing.assert_array_equal(told["forward"]["mean"], theory.log10_z_rms)
    np.testing.assert_array_equal(told["backward"]["mean"], theory.log10_delta_rms)
    np.testing.assert_array_equal(told["backward"]["std"], theory.delta_std)
    np.testing.assert_array_equal(told["backward"]["drift"], theory.delta_drift)
    np.testing.assert_array_equal(told["weight"]["mean"], theory.log10_wgrad_norm)
    refused = measure(SMALL | {"activation": "swiglu"})
    assert refused["theory"] is None
    assert refused["theory_why"].startswith("theory does not cover swiglu")
    spirals = measure(SMALL | {"data": "spirals"})
    assert (spirals["theory"], spirals["theory_why"]) == (None, replies.TRAINED)
    unasked = measure(SMALL | {"theory": False})
    assert (unasked["theory"], unasked["theory_why"]) == (None, "")


def test_numbers_that_json_lacks_are_words() -> None:
    assert plain(np.array([math.nan, math.inf, -math.inf, 0.5])) == [None, "inf", "-inf", 0.5]


def valid(name: str) -> st.SearchStrategy[Any]:
    control = CONTROLS[name]
    if control.choices:
        return st.sampled_from(control.choices)
    least, most = control.bounds
    if name in {"depth", "width", "batch", "steps"}:
        most = 24
    return st.integers(int(least), int(most)) if control.whole else st.floats(least, most)


def answered(call: Callable[[Any], Any], asked: object) -> Any:
    """What a call makes of a request, or the sentence that it has for it."""
    try:
        return call(asked)
    except (TypeError, ValueError) as error:
        sentence = str(error)
    assert len(sentence) > 20
    assert sentence.isprintable()
    return sentence


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.integers(), max_size=2)
)


@over_examples
@given(st.fixed_dictionaries({}, optional={name: valid(name) for name in CONTROLS}))
def test_any_request_gets_a_reply_in_json_or_a_sentence(asked: dict[str, Any]) -> None:
    told = answered(measure, SMALL | {"theory": False} | asked)
    if isinstance(told, str):
        return
    again = json.loads(json.dumps(told, allow_nan=False))
    assert again == told
    assert_verdict(told["verdict"], vg.diagnose(replies.measured(Request.read(told["request"]))[0]))


@over_examples
@given(
    st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=6)), ANYTHING, min_size=1, max_size=4).map(
        lambda asked: SMALL | asked
    )
)
def test_what_is_no_request_gets_a_sentence_and_no_other_error(asked: dict[str, Any]) -> None:
    answered(Request.read, asked)


# The server

for _name in ("starlette", "uvicorn"):
    pytest.importorskip(_name, reason="the extra explore is not installed")
httpx = pytest.importorskip("httpx", reason="httpx, which asks the server, is not installed")

from vgcore.explore import server  # noqa: E402 (needs the extra)

TOKEN, PORT = "t0ken", 8123
PAGE = {"x-vgcore-token": TOKEN, "host": f"127.0.0.1:{PORT}"}


class Client:
    """A client of one server, without a network."""

    def __init__(self) -> None:
        self.app = server.app(TOKEN, PORT)

    def request(self, method: str, path: str, **how: Any) -> Any:
        async def ask() -> Any:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{PORT}") as client:
                return await client.request(method, path, **how)

        return asyncio.run(ask())

    def get(self, path: str, **how: Any) -> Any:
        return self.request("GET", path, **how)

    def post(self, path: str, **how: Any) -> Any:
        return self.request("POST", path, **how)


@pytest.fixture
def client() -> Client:
    return Client()


def test_the_page_is_shown_to_who_brings_the_token(client: Client) -> None:
    shown = client.get("/", params={"token": TOKEN})
    assert shown.status_code == 200
    assert shown.headers["content-type"].startswith("text/html")
    assert TOKEN in shown.text
    for name, value in server.HEADERS.items():
        assert shown.headers[name] == value
    assert shown.text != client.get("/", params={"token": TOKEN}).text  # each page has a number of its own


def test_a_request_is_answered_as_measure_does(client: Client) -> None:
    done = client.post("/measure", json=SMALL, headers=PAGE)
    assert done.status_code == 200
    expected = measure(SMALL)
    assert {**done.json(), "took_ms": 0} == {**expected, "took_ms": 0}
    assert done.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]", "LOCALHOST"])
def test_this_machine_has_several_names(client: Client, name: str) -> None:
    headers = PAGE | {"host": f"{name}:{PORT}", "origin": f"http://{name}:{PORT}"}
    assert client.post("/measure", json=SMALL, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        ({"host": "evil.example"}, "under its own address alone"),
        ({"host": f"evil.example:{PORT}"}, "under its own address alone"),
        ({"host": "127.0.0.1"}, "under its own address alone"),
        ({"host": f"127.0.0.1:{PORT + 1}"}, "under its own address alone"),
        ({"host": f"127.0.0.1.evil.example:{PORT}"}, "under its own address alone"),
        ({"host": ""}, "under its own address alone"),
        ({"origin": "http://evil.example"}, "its own page alone"),
        ({"origin": "null"}, "its own page alone"),
        ({"origin": f"https://127.0.0.1:{PORT}"}, "its own page alone"),
        ({"origin": f"http://127.0.0.1:{PORT + 1}"}, "its own page alone"),
        ({"x-vgcore-token": "wrong"}, "the token is missing or wrong"),
        ({"x-vgcore-token": ""}, "the token is missing or wrong"),
        ({"x-vgcore-token": TOKEN + "x"}, "the token is missing or wrong"),
        ({"x-vgcore-token": TOKEN[:-1]}, "the token is missing or wrong"),
        ({"x-vgcore-token": "\xe9"}, "the token is missing or wrong"),
    ],
)
def test_strangers_are_refused(client: Client, headers: dict[str, str], sentence: str) -> None:
    sent = {name: value.encode("latin-1") for name, value in (PAGE | headers).items()}
    for done in (client.post("/measure", json=SMALL, headers=sent), client.get("/", headers=sent)):
        assert done.status_code == 403
        assert sentence in done.json()["error"]
        assert done.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in done.headers


@pytest.mark.parametrize("path", ["/", "/measure", "/nosuch", "/favicon.ico"])
def test_every_address_wants_the_token(client: Client, path: str) -> None:
    assert client.get(path, headers={"host": PAGE["host"]}).status_code == 403


@pytest.mark.parametrize(
    ("address", "kind", "body", "status", "sentence"),
    [
        ("GET /measure", "application/json", b"", 405, "Method Not Allowed"),
        ("POST /", "application/json", b"{}", 405, "Method Not Allowed"),
        ("OPTIONS /measure", "application/json", b"", 405, "Method Not Allowed"),
        ("GET /nosuch", "application/json", b"", 404, "Not Found"),
        ("POST /measure", "text/plain", b"{}", 415, "application/json"),
        ("POST /measure", "application/x-www-form-urlencoded", b"depth=3", 415, "application/json"),
        ("POST /measure", "", b"{}", 415, "application/json"),
        ("POST /measure", "application/json", b" " * 10_001, 413, "10000 bytes at most"),
        ("POST /measure", "application/json", b" " * 10_000, 400, "JSON object"),
        ("POST /measure", "application/json", b"", 400, "JSON object"),
        ("POST /measure", "application/json", b"\xff", 400, "JSON object"),
        ("POST /measure", "application/json", b"[" * 9_000, 400, "JSON object"),
        ("POST /measure", "application/json", b'{"sigma_w": NaN}', 400, "JSON object"),
        ("POST /measure", "application/json", b'{"sigma_w": 1e999}', 422, "sigma_w must be a number"),
        ("POST /measure", "application/json", b'{"seed": ' + b"9" * 4_000 + b"}", 422, "seed must be an integer"),
        ("POST /measure", "application/json", b'{"seed": ' + b"9" * 9_000 + b"}", 400, "JSON object"),
        ("POST /measure", "application/json", b"[]", 422, "a request must be a JSON object"),
        ("POST /measure", "application/json", b'{"depth": true}', 422, "depth must be an integer"),
        ("POST /measure", "application/json", b'{"init": "\\ud800"}', 422, "lone surrogates"),
        ("POST /measure", "application/json", b'{"\\ud800": 1}', 422, "a request has no field"),
    ],
)
def test_what_cannot_be_answered_gets_a_sentence(  # noqa: PLR0917 (a table)
    client: Client, address: str, kind: str, body: bytes, status: int, sentence: str
) -> None:
    done = client.request(*address.split(), content=body, headers=PAGE | {"content-type": kind})
    assert done.status_code == status
    assert sentence in done.json()["error"]
    assert "Traceback" not in done.text


@over_examples
@given(st.binary(max_size=200))
def test_any_body_gets_json(body: bytes) -> None:
    done = Client().post("/measure", content=body, headers=PAGE | {"content-type": "application/json"})
    assert done.status_code in {200, 400, 422}
    assert isinstance(done.json(), dict)


def test_a_person_without_the_token_gets_a_sentence_and_no_json(client: Client) -> None:
    shown = client.get("/", headers={"host": PAGE["host"], "accept": "text/html,*/*"})
    assert shown.status_code == 403
    assert shown.headers["content-type"].startswith("text/html")
    assert "<p>The token is missing or wrong: open the address that the server printed, all of it.</p>" in shown.text
    assert shown.headers["x-content-type-options"] == "nosniff"


def test_a_fault_gets_the_headers_of_all_answers(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> Any:
        raise KeyError("gone")

    monkeypatch.setattr(server, "measure", broken)

    async def ask() -> Any:
        transport = httpx.ASGITransport(app=client.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{PORT}") as asking:
            return await asking.post("/measure", json=SMALL, headers=PAGE)

    done = asyncio.run(ask())
    assert done.status_code == 500
    assert done.json()["error"] == "vgcore has a fault: KeyError: 'gone'"
    assert {name: done.headers[name] for name in server.HEADERS} == server.HEADERS


def test_a_body_that_does_not_come_is_not_waited_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.05)

    async def ask() -> Any:
        answered: list[Any] = []
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/measure",
            "raw_path": b"/measure",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json"), *((k.encode(), v.encode()) for k, v in PAGE.items())],
        }

        async def receive() -> Any:
            await asyncio.sleep(30)

        async def send(message: Any) -> None:
            answered.append(message)

        await client.app(scope, receive, send)
        return answered

    start, body = asyncio.run(ask())
    assert start["status"] == 408
    assert b"a request must come within 0.05 seconds" in body["body"]


def test_a_head_that_does_not_come_is_not_waited_for() -> None:
    program = (
        "from vgcore.explore import server; server.PATIENCE = 0.2; server.serve(0, lambda a: print(a, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().partition("/?")[0].rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port), timeout=60) as slow:
                slow.sendall(b"GET / HTTP/1.1\r\nHost: ")
                assert slow.recv(1) == b""  # closed
        finally:
            process.terminate()


def test_memory_that_ends_is_told_of(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> Any:
        raise MemoryError("this probe needs more memory than there is")

    monkeypatch.setattr(server, "measure", full)
    done = client.post("/measure", json=SMALL, headers=PAGE)
    assert done.status_code == 500
    assert done.json() == {"error": "this probe needs more memory than there is"}


def in_turns(*asked: tuple[str, int]) -> tuple[list[int], list[Any]]:
    """What was begun of requests of some pages, all sent while another one is measured; and what each came to."""
    begun: list[int] = []
    first, go = threading.Event(), threading.Event()

    def held() -> None:
        first.set()
        go.wait(30)

    async def ask() -> list[Any]:
        turns = server.Turns()
        running = asyncio.create_task(turns.take("another page", held))
        await asyncio.to_thread(first.wait, 30)
        waiting = []
        for of_page, number in asked:

            def work(number: int = number) -> int:
                begun.append(number)
                return number

            waiting.append(asyncio.create_task(turns.take(of_page, work)))
            await asyncio.sleep(0)
        go.set()
        await running
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert not turns._newest  # nothing is kept of pages that are answered
        return found

    return begun, asyncio.run(ask())


def test_the_newest_request_of_a_page_wins() -> None:
    begun, found = in_turns(*(("a", number) for number in range(50)))
    assert begun == [49]
    assert found[-1] == 49
    assert all(isinstance(each, server.Refused) and each.status == 409 for each in found[:-1])


def test_pages_do_not_take_each_other_s_turns() -> None:
    begun, found = in_turns(("a", 0), ("b", 1), ("a", 2))
    assert begun == [1, 2]
    assert found[1:] == [1, 2]


def test_a_failure_gives_the_turn_on() -> None:
    def fails() -> None:
        raise ValueError("no")

    async def ask() -> int:
        turns = server.Turns()
        with pytest.raises(ValueError, match="no"):
            await turns.take("a", fails)
        return int(await turns.take("a", lambda: 1))

    assert asyncio.run(ask()) == 1


# The command


def test_the_command_serves_its_page_until_ctrl_c_and_says_nothing_but_its_address() -> None:
    with served("--depth", "12", "--activation", "relu") as (process, address):
        check_served(process, address)


def check_served(process: subprocess.Popen[str], address: str) -> None:
    head, _, rest = address.partition("/?token=")
    token, _, state = rest.partition("#")
    assert head.startswith("http://127.0.0.1:")
    assert len(token) >= 32
    assert state == "depth=12&activation=relu"
    port = int(head.rpartition(":")[2])
    with socket.socket() as other, pytest.raises(ConnectionRefusedError):
        other.connect(("127.0.0.2", port))  # another address of this machine
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", f"/?token={token}")
    shown = connection.getresponse()
    assert (shown.status, shown.getheader("server")) == (200, None)
    assert shown.read()
    for headers, status in (({}, 200), ({"Host": "evil.example"}, 403), ({"Origin": "http://evil.example"}, 403)):
        sent = {"Content-Type": "application/json", "X-Vgcore-Token": token} | headers
        connection.request("POST", "/measure", json.dumps(SMALL | {"theory": False}), sent)
        answer = connection.getresponse()
        assert answer.status == status
        assert ("verdict" if status == 200 else "error") in json.load(answer)
    connection.close()
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out, said) == (130, "", "Ctrl-C ends it\n")


def test_a_port_that_is_taken_is_told_of() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, served("--port", str(taken.getsockname()[1])) as (process, _):
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said.startswith("error: cannot listen on port ")
    assert said.endswith("leave --port out for a free one\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--depth", "0"], "depth must be an integer from 1 to 200, got 0"),
        (["--steps", "3"], "noise has nothing to learn"),
        (["--save", "page.txt"], "--save must name an .html or .htm file, got 'page.txt'"),
        (["--save", "page.html", "--open"], "--open is of the server"),
        (["--save", "page.html", "--port", "8000"], "--port is of the server"),
        (["--port", "0"], "invalid value for '--port'"),
    ],
)
def test_a_wrong_command_line_is_told_of(arguments: list[str], sentence: str) -> None:
    done = run("explore", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr


def test_a_page_is_saved_once_unless_it_is_to_be_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "saved", lambda start: f"<!doctype html>{start['depth']}")
    asked = ["explore", "--depth", "9", "--save", "page.html"]
    done = run(*asked, cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == "<!doctype html>9"
    assert "#" not in done.stderr  # the page begins as asked, without an address that says so
    done = run(*asked, cwd=tmp_path)
    assert done.returncode == 2
    assert "'page.html' is there already; write over it with --force" in done.stderr
    assert run(*asked, "--force", cwd=tmp_path).returncode == 0


def test_a_build_without_an_engine_for_pages_saves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "ENGINE", "none.wasm")
    page._engine.cache_clear()
    done = run("explore", "--save", "page.html", cwd=tmp_path)
    assert done.returncode == 2
    assert "this build of vgcore has no none.wasm" in done.stderr
    assert not (tmp_path / "page.html").exists()


def test_without_the_extra_the_command_says_what_to_install() -> None:
    code = "import sys; sys.modules['uvicorn'] = None\nfrom vgcore.shell.commands import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code, "explore"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: vgcore explore needs starlette and uvicorn: pip install 'vgcore[explore]'\n"


# The notebook


def test_a_widget_answers_what_its_page_asks() -> None:
    pytest.importorskip("anywidget", reason="the extra notebook is not installed")
    spec = vg.MLP(6, width=8, activation="relu")
    widget = spec.explore()
    assert widget.spec == spec
    sent: list[Any] = []
    widget.send = sent.append
    widget._handle_custom_msg({"id": 1, "request": SMALL}, [])
    widget._handle_custom_msg({"id": 2, "request": {"depth": 0}}, [])
    assert {**sent[0], "reply": {**sent[0]["reply"], "took_ms": 0}} == {
        "id": 1,
        "reply": {**measure(SMALL), "took_ms": 0},
    }
    assert sent[1:] == [{"id": 2, "reply": {"error": "depth must be an integer from 1 to 200, got 0"}}]


def test_a_widget_tells_of_faults_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("anywidget", reason="the extra notebook is not installed")
    from vgcore.explore import widget as module

    shown = vg.MLP(6, width=8).explore()
    sent: list[Any] = []
    shown.send = sent.append
    for error in (MemoryError("there is too little memory"), InternalError("the core has a fault")):

        def fails(_: object, error: Exception = error) -> Any:
            raise error

        monkeypatch.setattr(module, "measure", fails)
        shown._handle_custom_msg({"id": 1, "request": SMALL}, [])
        assert sent.pop() == {"id": 1, "reply": {"error": str(error)}}


def test_the_spec_of_a_widget_is_the_net_on_screen() -> None:
    pytest.importorskip("anywidget", reason="the extra notebook is not installed")
    widget = vg.MLP(6, width=8).explore()
    assert {*widget.request} == {*CONTROLS}
    widget.set_state({"request": {**widget.request, "depth": 9, "init": "mean_field", "steps": 100}})
    assert widget.spec == vg.MLP(9, width=8, init="mean_field(1.5, 0.05)")


def test_a_widget_says_what_it_is_and_takes_no_attribute_that_it_has_not() -> None:
    pytest.importorskip("anywidget", reason="the extra notebook is not installed")
    explorer = vg.MLP(3, width=4).explore()
    assert str(explorer) == "Explorer(MLP(depth=3, width=4)), shown in a notebook; else: vgcore explore"
    with pytest.raises(AttributeError, match=r"has no 'depht'; set explorer\.request"):
        explorer.depht = 3
    explorer.request |= {"depth": 4}
    assert explorer.spec.depth == 4


def test_without_the_extra_a_widget_says_what_to_install() -> None:
    code = "import sys; sys.modules['anywidget'] = None\nimport vgcore as vg\nvg.MLP(2, width=2).explore()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("ImportError: spec.explore() needs anywidget: pip install 'vgcore[notebook]'\n")
