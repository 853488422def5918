"""Observations in and out."""

from __future__ import annotations

import gzip
import io
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import zstandard

from tests.support.web import Caller, House, days, make_house, make_runtime

AT = "2026-01-01T06:00:00Z"


def values(me: Caller, query: str = "") -> list[tuple[str, str, float]]:
    return [(r["channel"], r["at"], r["value"]) for r in me.get(f"/entities/u/observations{query}").json["data"]]


def test_the_same_delivery_twice_changes_nothing_and_says_so(me: Caller) -> None:
    first = me.post("/entities/u/observations", {"observations": days(3)})
    assert first.json == {"entity": "u", "accepted": 3, "replaced": 0, "rejected": 0, "errors": [], "data_rev": 1}
    again = me.post("/entities/u/observations", {"observations": days(3)})
    assert again.json == {"entity": "u", "accepted": 3, "replaced": 3, "rejected": 0, "errors": [], "data_rev": 2}
    assert len(values(me)) == 3


FLEET = f"entity,at,rhr,hrv\nu,{AT},58,\nv/1,{AT},,41.5\nu,{AT},59,40\n"


def test_a_fleets_rows_go_each_to_its_entity(me: Caller, other: Caller) -> None:
    first = me.post("/observations", data=FLEET, content_type="text/csv")
    assert first.json == {"entities": 2, "accepted": 4, "replaced": 0, "rejected": 0, "errors": []}
    assert values(me) == [("hrv", AT, 40), ("rhr", AT, 59)], "the last value of a moment stands"
    assert [row["channel"] for row in me.get("/entities/v%2F1/observations").json["data"]] == ["hrv"]
    again = me.post("/observations", data=gzip.compress(FLEET.encode()), content_type="text/csv", headers={"Content-Encoding": "gzip"})
    assert (again.json["replaced"], me.get("/entities/u").json["data_rev"]) == (3, 2)
    assert other.get("/entities").json["data"] == []


def test_of_a_fleets_delivery_that_breaks_off_nothing_is_left(me: Caller) -> None:
    torn = f'{FLEET}"u'
    assert me.post("/observations", data=torn, content_type="text/csv").status_code == 400
    hopeless = me.post("/observations", data=f"entity,at,rhr\nu,{AT},x\nv/..,{AT},1\n", content_type="text/csv")
    assert (hopeless.status_code, [each["pointer"] for each in hopeless.json["errors"]]) == (422, ["/line/2/rhr", "/line/3/entity"])
    assert me.get("/entities").json["data"] == []


def test_deliveries_that_cross_wait_for_each_other_and_never_deadlock(house: House, me: Caller) -> None:
    """Each names the same entities, old and new ones, in another order."""
    names = [f"e{n}" for n in range(40)]
    for name in names[::2]:
        me.put(f"/entities/{name}")
    key = {"Authorization": f"Bearer {me.key}"}

    def send(turn: int) -> int:
        rows = "".join(f"{name},{AT},{turn}\n" for name in random.Random(turn).sample(names, len(names)))
        sent = {"data": "entity,at,rhr\n" + rows, "content_type": "text/csv", "headers": key}
        return house.app.test_client().post("/api/v1/observations", **sent).status_code

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(send, range(12))) == [200] * 12
    assert {me.get(f"/entities/{name}").json["data_rev"] for name in names} == {12}


def test_the_last_value_of_a_moment_stands(me: Caller) -> None:
    rows = [{"channel": "rhr", "at": AT, "value": value} for value in (1, 2, 3)]
    assert me.post("/entities/u/observations", {"observations": rows}).json["accepted"] == 3
    assert values(me) == [("rhr", AT, 3)]


@pytest.mark.parametrize(
    ("mimetype", "body"),
    [
        ("application/json", f'{{"rows": [{{"at": "{AT}", "rhr": 58, "hrv": 41.5}}]}}'),
        (
            "application/json; charset=utf-8",
            '{"rows": [{"at": "2026-01-01T08:00:00+02:00", "rhr": 58, "hrv": 41.5}], "observations": []}',
        ),
        ("application/x-ndjson", f'{{"at": "{AT}", "rhr": 58}}\n{{"channel": "hrv", "at": "{AT}", "value": 41.5}}'),
        ("text/csv", f"at,rhr,hrv\n{AT},58,41.5\n"),
        ("text/csv; header=present", f"at,channel,value\n{AT},rhr,58\n{AT},hrv,41.5\n"),
    ],
)
def test_every_shape(me: Caller, mimetype: str, body: str) -> None:
    answer = me.post("/entities/u/observations", data=body.encode(), content_type=mimetype)
    assert answer.json["accepted"] == 2, answer.text
    assert values(me) == [("hrv", AT, 41.5), ("rhr", AT, 58)]


def test_good_rows_are_taken_beside_bad_ones(me: Caller) -> None:
    rows: list[Any] = [*days(2), {"channel": "rhr", "at": "never", "value": 1}, {"channel": "rhr", "at": AT, "value": "x"}]
    answer = me.post("/entities/u/observations", {"observations": rows})
    assert (answer.status_code, answer.json["accepted"], answer.json["rejected"]) == (200, 2, 2)
    assert [e["pointer"] for e in answer.json["errors"]] == ["/observations/2/at", "/observations/3/value"]


def test_only_bad_rows_change_nothing(me: Caller) -> None:
    answer = me.post("/entities/u/observations", {"observations": [{"channel": "rhr", "at": AT, "value": True}]})
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/observations/0/value")
    assert me.get("/entities/u").status_code == 404


def test_a_body_that_breaks_off_changes_nothing(me: Caller) -> None:
    body = "at,rhr\n" + f"{AT},58\n" * 5000 + '"2026'
    answer = me.post("/entities/u/observations", data=body.encode(), content_type="text/csv")
    assert (answer.status_code, answer.json["code"]) == (400, "malformed_request")
    assert me.get("/entities/u").status_code == 404


def test_too_large_a_body(house: House, me: Caller) -> None:
    small = make_house(make_runtime(house.runtime.engine, house.runtime.settings.redis_url, max_body_bytes=1024))
    me.client = small.app.test_client()
    answer = me.post("/entities/u/observations", {"observations": days(60)})
    assert (answer.status_code, answer.json["code"]) == (413, "body_too_large")
    assert me.get("/entities/u").status_code == 404


def test_read_by_channel_and_span(me: Caller) -> None:
    me.post("/entities/u/observations", {"observations": days(5) + days(5, "hrv")})
    assert len(values(me)) == 10
    assert [at[:10] for _, at, _ in values(me, "?channel=rhr&from=2026-01-02&to=2026-01-04T00:00:00Z")] == ["2026-01-02", "2026-01-03"]
    assert values(me, "?channel=none") == []
    assert me.get("/entities/u/observations?from=never").json["errors"][0]["pointer"] == "/query/from"


def test_pages_meet_without_a_gap(me: Caller) -> None:
    me.post("/entities/u/observations", {"observations": days(7) + days(4, "hrv")})
    seen: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        page = me.get(f"/entities/u/observations?limit=3{cursor and f'&cursor={cursor}'}").json
        assert len(page["data"]) <= 3
        seen += page["data"]
        cursor = page["next_cursor"]
    assert seen == me.get("/entities/u/observations").json["data"]


PACK = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}


@pytest.mark.parametrize("encoding", PACK)
@pytest.mark.parametrize(("mimetype", "line"), [("text/csv", "{at},58\n"), ("application/x-ndjson", '{{"at": "{at}", "rhr": 58}}\n')])
def test_packed_bodies_are_taken(me: Caller, encoding: str, mimetype: str, line: str) -> None:
    head = "at,rhr\n" if mimetype == "text/csv" else ""
    text = head + "".join(line.format(at=f"2026-01-{day:02}T06:00:00Z") for day in range(1, 29))
    answer = me.post(
        "/entities/u/observations", data=PACK[encoding](text.encode()), content_type=mimetype, headers={"Content-Encoding": encoding}
    )
    assert answer.json["accepted"] == 28, answer.text
    assert len(values(me)) == 28


def packed(encoding: str, rows: int = 5_000) -> bytes:
    return PACK[encoding](("at,rhr\n" + f"{AT},58\n" * rows).encode())


@pytest.mark.parametrize("encoding", PACK)
def test_a_packed_body_that_cannot_be_read_changes_nothing(house: House, me: Caller, encoding: str) -> None:
    small = make_house(make_runtime(house.runtime.engine, house.runtime.settings.redis_url, max_stream_bytes=50_000))
    here, sent = {"content_type": "text/csv", "headers": {"Content-Encoding": encoding}}, packed(encoding)
    assert len(sent) < 2_000
    refused = [
        (me.post("/entities/u/observations", data=sent[:-20], **here), 400, "malformed_request"),
        (me.post("/entities/u/observations", data=b"at,rhr\n", **here), 400, "malformed_request"),
        (me.post("/entities/u/observations", data=PACK[encoding](b""), **here), 400, "malformed_request"),
        (
            me.post("/entities/u/observations", data=sent, content_type="application/json", headers={"Content-Encoding": encoding}),
            415,
            None,
        ),
        (
            me.post("/entities/u/observations", data=sent, content_type="text/csv", headers={"Content-Encoding": "br"}),
            415,
            "unsupported_media_type",
        ),
        (Caller(small.app.test_client(), me.tenant_id, me.key).post("/entities/u/observations", data=sent, **here), 413, "body_too_large"),
    ]
    for answer, status, code in refused:
        assert (answer.status_code, answer.json["code"]) == (status, code or "unsupported_media_type"), answer.text
    assert me.get("/entities/u").status_code == 404


def test_lines_may_be_longer_than_a_body_of_json(house: House, me: Caller) -> None:
    small = make_house(make_runtime(house.runtime.engine, house.runtime.settings.redis_url, max_body_bytes=1024, max_stream_bytes=20_000))
    there = Caller(small.app.test_client(), me.tenant_id, me.key)
    head, line = b"at,rhr\n", f"{AT},58\n".encode()
    assert there.post("/entities/u/observations", data=head + line * 500, content_type="text/csv").json["accepted"] == 500
    assert there.post("/entities/u/observations", data=head + line * 900, content_type="text/csv").status_code == 413
    chunked = {"input_stream": io.BytesIO(head + line * 900), "environ_overrides": {"wsgi.input_terminated": True}}
    assert there.post("/entities/u/observations", content_type="text/csv", **chunked).status_code == 413
    assert there.get("/entities/u").json["data_rev"] == 1


def test_only_so_many_bodies_flow_in_at_once(house: House, me: Caller) -> None:
    small = make_house(make_runtime(house.runtime.engine, house.runtime.settings.redis_url, max_inflows=1))
    there = Caller(small.app.test_client(), me.tenant_id, me.key)
    answers: list[Any] = []

    class Slow(io.BytesIO):
        """A body while which is read another is sent."""

        def read(self, size: int | None = -1) -> bytes:
            if not answers:
                other = Caller(small.app.test_client(), me.tenant_id, me.key)
                answers.append(None)
                answers[0] = other.post("/entities/v/observations", data=b"at,rhr\n", content_type="text/csv")
            return super().read(size)

        def readinto(self, buffer: Any) -> int:
            piece = self.read(len(buffer))
            buffer[: len(piece)] = piece
            return len(piece)

    flowing = {"input_stream": Slow(f"at,rhr\n{AT},58\n".encode())}
    assert there.post("/entities/u/observations", content_type="text/csv", **flowing).json["accepted"] == 1
    assert (answers[0].status_code, answers[0].json["code"], answers[0].headers["Retry-After"]) == (503, "streams_saturated", "10")
    assert there.post("/entities/u/observations", data=f"at,rhr\n{AT},58\n", content_type="text/csv").status_code == 200, (
        "its place is free"
    )
