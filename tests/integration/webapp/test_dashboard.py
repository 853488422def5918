"""The dashboard's pages and its door, without a browser: who gets in, what is shown to whom, and that names stay names."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import text
from werkzeug.test import Client, TestResponse

from db import anomalies, entities, forecasts, logins, registry, tenants
from db.anomalies import Found, Judge
from db.forecasts import Question
from tests.support.rows import publish
from tests.support.web import API, START, Caller, House, days
from webapp import auth

HERE = {"Origin": "http://localhost"}
OWN = {auth.OWN_PAGES: "1"}


@pytest.fixture
def enter(house: House) -> Callable[..., Client]:
    """A browser that has logged in as somebody."""

    def entered(caller: Caller) -> Client:
        client = house.app.test_client()
        assert log_in(client, caller.key).status_code == 303
        return client

    return entered


def log_in(client: Client, key: str, headers: dict[str, str] = HERE, **form: str) -> TestResponse:
    return client.post("/login", data={"key": key} | form, headers=headers)


# The door.


def test_a_key_opens_and_the_cookie_is_kept_from_scripts_and_other_sites(house: House, me: Caller) -> None:
    client = house.app.test_client()
    assert client.get("/").headers["Location"] == "/login?next=%2F"
    entered = log_in(client, me.key)
    assert (entered.status_code, entered.headers["Location"]) == (303, "/")
    [cookie] = entered.headers.getlist("Set-Cookie")
    assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"} <= set(cookie.split("; "))
    assert me.key not in cookie
    assert client.get("/").status_code == 200


def test_behind_tls_the_cookie_never_travels_in_clear(house: House, me: Caller) -> None:
    """The proxy in between speaks HTTP to us; that the browser does not is told by its Origin."""
    entered = house.app.test_client().post("/login", base_url="http://x.test", data={"key": me.key}, headers={"Origin": "https://x.test"})
    assert "Secure" in entered.headers["Set-Cookie"].split("; ")


def test_a_wrong_key_is_refused_in_words(house: House) -> None:
    for key in ("", "nonsense", "fk_000000000000_" + "0" * 64, "\u00e9\0"):
        answer = log_in(house.app.test_client(), key)
        assert answer.status_code == 401
        assert "unknown, expired or revoked" in answer.text
        assert "Set-Cookie" not in answer.headers
    answer = log_in(house.app.test_client(), house.caller("mine", ("write", "operate")).key)
    assert (answer.status_code, "Set-Cookie" in answer.headers) == (403, False)


def test_after_twenty_failures_nobody_is_looked_up(house: House, me: Caller) -> None:
    client = house.app.test_client()
    for _ in range(20):
        assert log_in(client, "fk_wrong").status_code == 401
    answer = log_in(client, me.key)
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    other = client.post("/login", data={"key": me.key}, headers=HERE, environ_overrides={"REMOTE_ADDR": "192.0.2.7"})
    assert other.status_code == 303


def test_a_form_on_another_site_logs_nobody_in_or_out(house: House, me: Caller) -> None:
    client = house.app.test_client()
    for headers in ({}, {"Origin": "https://evil.test"}, {"Origin": "null"}, {"Origin": "http://localhost:81"}):
        assert log_in(client, me.key, headers).status_code == 403
        log_in(client, me.key)
        assert client.post("/logout", headers=headers).status_code == 403
        assert client.get("/").status_code == 200


LED = {
    "/entities/a%20b?span=7d": "/entities/a%20b?span=7d",
    "//evil.test": "/",
    "https://evil.test": "/",
    "/\\evil.test": "/",
    "/a\r\nSet-Cookie: x=1": "/",
    "": "/",
}


def test_whoever_logs_in_is_led_back_and_never_away(house: House, me: Caller) -> None:
    client = house.app.test_client()
    assert client.get("/entities/a%3Fb?span=7d").headers["Location"] == "/login?next=" + quote("/entities/a%3Fb?span=7d", safe="")
    assert {asked: log_in(client, me.key, next=asked).headers["Location"] for asked in LED} == LED


def test_logging_out_ends_the_login_and_not_only_the_cookie(house: House, me: Caller, enter: Callable[..., Client]) -> None:
    client = enter(me)
    cookie = client.get_cookie(auth.COOKIE)
    assert cookie is not None
    assert client.post("/logout", headers=HERE).headers["Location"] == "/login"
    client.set_cookie(auth.COOKIE, cookie.value)
    assert client.get("/").status_code == 303


def test_the_end_of_a_key_ends_its_logins(house: House, me: Caller, enter: Callable[..., Client], monkeypatch: pytest.MonkeyPatch) -> None:
    client = enter(me)
    with house.runtime.sessions.begin() as session:
        tenants.revoke_key(session, me.tenant_id, me.key.split("_")[1])
    monkeypatch.setattr(auth.time, "monotonic", lambda now=time.monotonic: now() + auth.TRUSTED_S + auth.LOOK_UP_S)
    assert client.get("/").status_code == 303
    assert client.get(API + "/jobs", headers=OWN).status_code == 401


def test_a_login_ends_by_itself_and_is_swept_away(house: House, me: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    with house.runtime.sessions.begin() as session:
        identity = tenants.authenticate(session, me.key)
        assert identity is not None
        whole = logins.begin(session, identity, timedelta(hours=1))
        assert logins.authenticate(session, whole) is not None
        session.execute(text("UPDATE logins SET expires_at = clock_timestamp() - interval '1 s'"))
        assert logins.authenticate(session, whole) is None
        assert (logins.purge(session, limit=10), logins.purge(session, limit=10)) == (1, 0)


# The cookie at the API.


def test_the_cookie_counts_only_where_our_own_pages_ask(house: House, me: Caller, enter: Callable[..., Client]) -> None:
    client = enter(me)
    assert client.get(API + "/jobs").status_code == 401
    assert client.get(API + "/jobs", headers=OWN).status_code == 200
    put = API + "/entities/x"
    for headers in ({}, HERE, OWN, OWN | {"Origin": "https://evil.test"}, OWN | {"Sec-Fetch-Site": "cross-site"}):
        assert client.put(put, json={}, headers=headers).status_code == 401
    assert client.put(put, json={}, headers=OWN | HERE).status_code == 200
    assert client.put(put, json={}, headers=OWN | {"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_a_login_is_no_key(house: House, me: Caller, enter: Callable[..., Client]) -> None:
    cookie = enter(me).get_cookie(auth.COOKIE)
    assert cookie is not None
    client = house.app.test_client()
    assert client.get(API + "/jobs", headers={"Authorization": f"Bearer {cookie.value}"}).status_code == 401
    assert log_in(client, cookie.value).status_code == 401


def test_a_reader_sees_no_buttons_and_a_forged_deed_is_refused(house: House, trained: Caller, enter: Callable[..., Client]) -> None:
    second_version(house, trained)
    model = trained.get("/models").json["data"][0]["id"]
    operator, reader = enter(trained), enter(house.caller("mine", ("read",)))
    assert operator.get("/entities/u").text.count("data-deed") == 2
    assert "data-deed" not in reader.get("/entities/u").text
    job = trained.post("/models/train", {"entity": "u", "recipe": "health-daily", "spec": {"epochs": 3}}).json["id"]
    assert "data-deed" in operator.get(f"/jobs/{job}").text
    assert "data-deed" not in reader.get(f"/jobs/{job}").text
    for path in (f"/models/{model}/rollback", f"/jobs/{job}/cancel"):
        forged = reader.post(API + path, headers=OWN | HERE)
        assert (forged.status_code, forged.json["code"]) == (403, "forbidden_scope")
    moved = operator.post(f"{API}/models/{model}/rollback", json={"reason": "worse"}, headers=OWN | HERE)
    assert (moved.status_code, moved.json["version"]) == (200, "1.0.0")
    assert "worse" in operator.get("/entities/u").text


# What is shown.


def second_version(house: House, caller: Caller) -> str:
    job = caller.post("/models/train", {"entity": "u", "recipe": "health-daily", "spec": {"epochs": 7}}).json
    return house.publish(caller, job["id"])


PATHS = ("/", "/entities/u", "/charts/u?channel=rhr", "/accuracy/u?target=rhr", "/jobs", "/jobs?entity=u", "/jobs/JOB")


def test_every_page_needs_a_login_and_shows_only_ones_own(
    house: House, trained: Caller, other: Caller, enter: Callable[..., Client]
) -> None:
    job = trained.get("/jobs").json["data"][0]["id"]
    mine, theirs, nobody = enter(trained), enter(other), house.app.test_client()
    for path in (path.replace("JOB", job) for path in PATHS):
        assert nobody.get(path).headers["Location"].startswith("/login?next=")
        shown, hidden = mine.get(path), theirs.get(path, headers={"Accept": "text/html"})
        assert (shown.status_code, "rhr" in shown.text) == (200, True), path
        assert "rhr" not in hidden.text, path
        assert (hidden.status_code, hidden.mimetype) == (200 if path in ("/", "/jobs") else 404, "text/html"), path


def test_a_page_runs_nothing_but_our_files(trained: Caller, enter: Callable[..., Client]) -> None:
    client, job = enter(trained), trained.get("/jobs").json["data"][0]["id"]
    for answer in (client.get(path.replace("JOB", job)) for path in PATHS):
        policy = dict(part.strip().split(" ", 1) for part in answer.headers.get("Content-Security-Policy", "").split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
        if answer.mimetype == "text/html":
            assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["form-action"] == "'self'"
            assert not re.search(r"<script(?![^>]* src=)| on\w+=\"| style=|<style|https?://(?!localhost)", answer.text)
            assert "no-store" in answer.headers["Cache-Control"]


NASTY = "<script>alert(1)</script>\"'&{{7*7}}"


def test_names_stay_names(house: House, me: Caller, enter: Callable[..., Client]) -> None:
    rows = [row | {"channel": NASTY} for row in days(120)]
    assert me.post(f"/entities/{quote(NASTY, safe='')}/observations", {"observations": rows}).status_code == 200
    asked = {"entity": NASTY, "recipe": "device-metric", "target": NASTY, "look_back_hours": 9000}
    job = me.post("/models/train", asked)
    assert job.status_code == 202, job.text
    client, there = enter(me), quote(NASTY, safe="")
    house.publish(me, job.json["id"])
    pages = [client.get(path) for path in ("/", f"/entities/{there}", "/jobs", f"/jobs/{job.json['id']}", f"/?q={there}")]
    for shown in pages:
        assert shown.status_code == 200
        assert "&lt;script&gt;alert(1)" in shown.text
        assert "<script>alert" not in shown.text
        assert "49" not in re.findall(r"&amp;(.{0,6})", shown.text)
    assert client.get(f"/charts/{there}?channel={there}").json["channel"] == NASTY


SAID = {
    "/?cursor=nonsense": 422,
    "/?q=%00": 422,
    "/?q=" + "x" * 4000: 422,
    "/jobs?cursor=%00": 422,
    "/jobs?kind=nonsense": 200,
    "/jobs?entity=nobody": 404,
    "/jobs/job_none": 404,
    "/jobs/%00": 422,
    "/entities/nobody": 404,
    "/entities/u?channel=none": 422,
    "/entities/u?channel=%00": 422,
    "/entities/u?span=nonsense": 200,
    "/charts/u": 422,
    "/charts/u?channel=none": 422,
    "/charts/u?channel=rhr&span=nonsense": 200,
    "/charts/nobody?channel=rhr": 404,
    "/accuracy/u": 404,
    "/accuracy/u?target=none": 404,
    "/accuracy/nobody?target=rhr": 404,
}


def test_what_cannot_be_shown_is_said(trained: Caller, enter: Callable[..., Client]) -> None:
    client = enter(trained)
    shown = {path: client.get(path, headers={"Accept": "text/html"}) for path in SAID}
    assert {path: answer.status_code for path, answer in shown.items()} == SAID
    for path in (path for path, code in SAID.items() if code != 200):
        assert shown[path].mimetype == "text/html"
        assert client.get(path, headers={"Accept": "application/json"}).mimetype == "application/problem+json"


def test_many_entities_come_in_pages_and_are_found_by_name(me: Caller, enter: Callable[..., Client]) -> None:
    for number in range(30):
        me.put(f"/entities/room-{number:02}")
    client = enter(me)
    first = client.get("/").text
    [following] = re.findall(r'rel="next" href="([^"]+)"', first)
    second = client.get("/" + following.replace("&amp;", "&")).text
    shown = [set(re.findall(r"/entities/(room-\d\d)", page)) for page in (first, second)]
    assert [len(each) for each in shown] == [25, 5]
    assert not shown[0] & shown[1]
    assert set(re.findall(r"/entities/(room-\d\d)", client.get("/?q=M-1").text)) == {f"room-1{n}" for n in range(10)}
    assert "No entity" in client.get("/?q=%25").text, "a sign that SQL knows means itself"


def test_an_empty_house_says_how_to_begin(me: Caller, enter: Callable[..., Client]) -> None:
    client = enter(me)
    assert "curl http://localhost/api/v1/entities/room-1/observations" in client.get("/").text
    assert "No jobs yet" in client.get("/jobs").text
    me.put("/entities/bare")
    assert "It has no observations yet" in client.get("/entities/bare").text


def test_an_entity_shows_versions_log_and_gate(house: House, trained: Caller, enter: Callable[..., Client]) -> None:
    semver = second_version(house, trained)
    shown = enter(trained).get("/entities/u").text
    assert f"<strong>{semver}</strong> serves, by blend" in shown
    assert "No forecast has met what it spoke of yet" in enter(trained).get("/accuracy/u?target=rhr").text
    for said in ("1.0.0", "passed", "91%", "Activation log", "publish", "/accuracy/u?target=rhr"):
        assert said in shown
    for column in ("MAE", "Skill", "Inside", "Gate"):
        assert f"<dt>{column}<dd>" in shown


def test_a_job_shows_how_it_stands_and_why_it_failed(house: House, ready: Caller, enter: Callable[..., Client]) -> None:
    client = enter(ready)
    job = ready.post("/models/train", {"entity": "u", "recipe": "health-daily"}).json["id"]
    waiting = client.get(f"/jobs/{job}").text
    assert f'data-events="/api/v1/jobs/{job}/events"' in waiting
    assert ">queued<" in waiting
    house.fail(
        ready, job, {"type": "/problems/training_diverged", "title": "It diverged", "code": "training_diverged", "detail": "NaN at 3."}
    )
    over = client.get(f"/jobs/{job}").text
    assert "data-events" not in over
    assert "NaN at 3." in over
    assert "Try again" in over
    assert "training_diverged" in client.get("/jobs?state=failed").text
    assert "No job is like this" in client.get("/jobs?state=cancelled").text


def test_a_batch_counts_its_items(ready: Caller, enter: Callable[..., Client]) -> None:
    job = ready.post("/models/train", {"entities": ["u"], "recipe": "health-daily"}).json["id"]
    client = enter(ready)
    assert "0 of 1" in client.get("/jobs").text
    assert "1 total" in client.get(f"/jobs/{job}").text


def test_what_a_source_holds_is_seen_by_its_models_and_its_forecast(house: House, trained: Caller, enter: Callable[..., Client]) -> None:
    house.forecast(trained, trained.post("/predict", {"entity": "u", "target": "rhr"}).json["id"])
    with house.runtime.sessions.begin() as session:  # as where no row was ever sent here
        session.execute(text("DELETE FROM channels WHERE name = 'rhr'"))
        session.execute(text("UPDATE versions SET source = 'plants'"))
    client = enter(trained)
    page = client.get("/entities/u").text
    assert "no observations yet" not in page
    assert "The rows of rhr are read from the source plants" in page
    assert "Model rhr" in page
    told = client.get("/charts/u?channel=rhr").json
    assert (told["rows"], told["span"], len(told["forecast"]["at"])) == (0, "all", 7)
    assert client.get("/charts/u?channel=none").status_code == 422


# The numbers of a picture.


def test_few_rows_are_drawn_as_they_are(ready: Caller, enter: Callable[..., Client]) -> None:
    told = enter(ready).get("/charts/u?channel=rhr&span=all").json
    assert (told["rows"], told["bucket_s"]) == (60, None)
    assert told["observed"]["mean"] == [58.0 + n % 7 for n in range(60)]
    assert told["observed"]["at"][0] == START.timestamp()


def test_many_rows_are_thinned_and_no_peak_is_lost(me: Caller, enter: Callable[..., Client]) -> None:
    lines = "at,channel,value\n" + "".join(
        f"{(START + timedelta(minutes=n)).isoformat()},load,{9999 if n == 17_777 else n % 50}\n" for n in range(30_000)
    )
    assert me.post("/entities/s/observations", data=lines, content_type="text/csv").status_code == 200
    client = enter(me)
    began = time.monotonic()
    told = client.get("/charts/s?channel=load&span=all").json
    assert time.monotonic() - began < 2
    assert told["rows"] == 30_000
    assert 900 <= len(told["observed"]["at"]) <= 1001
    assert (max(told["observed"]["high"]), min(told["observed"]["low"])) == (9999, 0)
    assert told["observed"]["at"] == sorted(told["observed"]["at"])
    assert client.get("/charts/s?channel=load").json["span"] == "1d", "minutes are seen over a day"


def test_the_picture_has_what_is_forecast_and_what_had_been(house: House, trained: Caller, enter: Callable[..., Client]) -> None:
    job = trained.post("/predict", {"entity": "u", "target": "rhr"}).json["id"]
    made: Any = house.forecast(trained, job)
    client = enter(trained)
    told = client.get("/charts/u?channel=rhr&span=all").json
    assert told["forecast"]["value"] == [point["value"] for point in made["points"]]
    assert (told["forecast"]["version"], told["forecast"]["level"]) == ("1.0.0", 0.9)
    assert len(told["past"]["at"]) == 1, "the rest has not happened yet"
    trained.post("/entities/u/observations", {"observations": days(5, start=START + timedelta(days=60))})
    assert len(client.get("/charts/u?channel=rhr&span=all").json["past"]["at"]) == 6


def test_a_circle_is_drawn_on_the_channel_that_was_odd(house: House, ready: Caller, enter: Callable[..., Client]) -> None:
    ready.post("/entities/u/observations", {"observations": days(60, "steps")})
    at = START + timedelta(days=20)
    odd = [{"channel": "rhr", "share": 0.9, "value": 90.0, "low": 55, "high": 66}, {"channel": "steps", "share": 0.1, "value": 1.0}]
    with house.runtime.sessions.begin() as session:
        model = registry.ensure_model(session, ready.tenant_id, entities.get(session, ready.tenant_id, "u").id, "health-watch", "anomaly")
        version = publish(session, model)
        judge = Judge(ready.tenant_id, model.entity_id, model.id, version.id, "job_1")
        anomalies.store(session, judge, [Found(at, 0.8, "critical", odd)])
    client = enter(ready)
    circled = {name: client.get(f"/charts/u?channel={name}&span=all").json["anomalies"] for name in ("rhr", "steps")}
    assert ([each["at"] for each in circled["rhr"]], circled["steps"]) == ([at.timestamp()], [])


def test_of_several_forecasts_of_a_moment_the_latest_is_drawn(house: House, trained: Caller, enter: Callable[..., Client]) -> None:
    job = trained.get("/jobs").json["data"][0]["id"]
    at = (START + timedelta(days=50)).isoformat()
    with house.runtime.sessions.begin() as session:
        entity = entities.get(session, trained.tenant_id, "u")
        version = registry.active(session, trained.tenant_id, entity.id, "rhr")
        assert version is not None
        for origin, value in ((48, 1.0), (49, 2.0), (47, 3.0)):
            body = {"points": [{"at": at, "value": value, "lower": 0.0, "upper": 9.0}], "served_by": {"version": "1.0.0", "kind": "blend"}}
            asked = Question(version.id, "rhr", origin, 1, 0.9)
            until = START + timedelta(days=origin)
            forecasts.store(session, trained.tenant_id, asked, entity_id=entity.id, job_id=job, data_until=until, body=body)
    assert enter(trained).get("/charts/u?channel=rhr&span=all").json["past"]["value"] == [2.0]
