"""Observations in every shape they come in: which are taken, and where the others are wrong."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from db.observations import Row
from tasks.settings import Settings
from webapp.delivering import Delivery, delivery
from webapp.problems import Refusal
from webapp.rows import Owned

JSON, LINES, CSV = "application/json", "application/x-ndjson", "text/csv"
AT = "2026-01-01T06:00:00Z"
MOMENT = datetime(2026, 1, 1, 6, tzinfo=UTC)


def owned(mimetype: str, body: Any, entity: str | None = None, **limits: Any) -> tuple[list[Owned], Delivery]:
    content = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    found = delivery(mimetype, io.BytesIO(content), Settings(**limits), entity)
    return list(found), found


def told(mimetype: str, body: Any, **limits: Any) -> tuple[list[Row], Delivery]:
    """Of an entity that is named elsewhere."""
    found, about = owned(mimetype, body, "u", **limits)
    assert {each.entity for each in found} <= {"u"}
    return [each.row for each in found], about


BOTH = [Row("rhr", MOMENT, 58.0), Row("hrv", MOMENT, 41.5)]


@pytest.mark.parametrize(
    ("mimetype", "body"),
    [
        (JSON, {"observations": [{"channel": "rhr", "at": AT, "value": 58}, {"channel": "hrv", "at": AT, "value": 41.5}]}),
        (JSON, {"rows": [{"at": AT, "rhr": 58, "hrv": 41.5, "steps": None}]}),
        (JSON, {"observations": [{"channel": "rhr", "at": AT, "value": 58}], "rows": [{"at": AT, "hrv": 41.5}]}),
        (LINES, f'{{"channel":"rhr","at":"{AT}","value":58}}\n\n{{"at":"{AT}","hrv":41.5}}\n'),
        (CSV, f"at,channel,value\r\n{AT},rhr,58\r\n{AT},hrv,41.5\r\n"),
        (CSV, f"channel,value,at\nrhr,58,{AT}\nhrv,41.5,{AT}"),
        (CSV, f"\ufeffat,rhr,hrv,steps\n{AT},58,41.5,\n\n"),
        (CSV, f'at,rhr,hrv\n"{AT}"," 58 ",41.5\n'),
    ],
)
def test_every_shape_means_the_same(mimetype: str, body: Any) -> None:
    found, about = told(mimetype, body)
    assert found == BOTH
    assert about.rejected == 0


@pytest.mark.parametrize(
    ("mimetype", "body", "pointer"),
    [
        (JSON, {"observations": [{"channel": "rhr", "at": AT, "value": True}]}, "/observations/0/value"),
        (JSON, {"observations": [{"channel": "rhr", "at": AT, "value": "58"}]}, "/observations/0/value"),
        (JSON, {"observations": [{"channel": "rhr", "at": AT, "value": None}]}, "/observations/0/value"),
        (JSON, b'{"observations": [{"channel": "rhr", "at": "2026-01-01", "value": 1e400}]}', "/observations/0/value"),
        (JSON, {"observations": [{"channel": "rhr", "at": AT, "value": 10**400}]}, "/observations/0/value"),
        (JSON, {"observations": [{"channel": "rhr", "at": "0000-01-01", "value": 1}]}, "/observations/0/at"),
        (JSON, {"observations": [{"channel": "rhr", "at": "10000-01-01", "value": 1}]}, "/observations/0/at"),
        (JSON, {"observations": [{"channel": "rhr", "at": 17, "value": 1}]}, "/observations/0/at"),
        (JSON, {"observations": [{"channel": "", "at": AT, "value": 1}]}, "/observations/0/channel"),
        (JSON, {"observations": [{"channel": "a\0", "at": AT, "value": 1}]}, "/observations/0/channel"),
        (JSON, {"observations": [{"channel": "\ud800", "at": AT, "value": 1}]}, "/observations/0/channel"),
        (JSON, {"observations": [{"channel": ["rhr"], "at": AT, "value": 1}]}, "/observations/0/channel"),
        (JSON, {"observations": [{"channel": "rhr", "at": AT}]}, "/observations/0/value"),
        (JSON, {"observations": [{"channel": "rhr"}]}, "/observations/0"),
        (JSON, {"observations": [{"channel": "rhr", "at": AT, "value": 1, "unit": "bpm"}]}, "/observations/0"),
        (JSON, {"observations": [7]}, "/observations/0"),
        (JSON, {"rows": [{"at": AT, "a/b~c": "x"}]}, "/rows/0/a~1b~0c"),
        (JSON, {"rows": [{"rhr": 58}]}, "/rows/0/at"),
        (JSON, {"rows": [[AT, 58]]}, "/rows/0"),
        (LINES, f'\n{{"at":"{AT}","rhr":"x"}}', "/line/2/rhr"),
        (LINES, '{"at":', "/line/1"),
        (LINES, "[1]", "/line/1"),
        (CSV, f"at,rhr\n{AT},nan", "/line/2/rhr"),
        (CSV, f"at,rhr\n{AT},1_0", "/line/2/rhr"),
        (CSV, f"at,rhr\n{AT},٥٨", "/line/2/rhr"),
        (CSV, f"at,rhr\n{AT},5\0", "/line/2/rhr"),
        (CSV, f"at,r\0r\n{AT},5", "/line/2/r\0r"),
        (CSV, "at,rhr\n2026-01-01\x0003:00,58", "/line/2/at"),
        (JSON, {"observations": [{"channel": "rhr", "at": "2026-01-01+02:00", "value": 1}]}, "/observations/0/at"),
        (CSV, f"at,rhr\n{AT},high", "/line/2/rhr"),
        (CSV, f"at,rhr\n{AT},1,2", "/line/2"),
        (CSV, f"at,channel,value\n{AT},rhr,", "/line/2/value"),
        (CSV, "at,rhr\nnoon,58", "/line/2/at"),
    ],
)
def test_one_row_that_cannot_be_taken(mimetype: str, body: Any, pointer: str) -> None:
    found, about = told(mimetype, body)
    assert found == []
    assert [f["pointer"] for f in about.faults] == [pointer]


@pytest.mark.parametrize(
    ("mimetype", "body", "pointer"),
    [
        (JSON, {"observations": [{"channel": "rhr", "value": 58}]}, "/observations/0/at"),
        (JSON, {"rows": [{"rhr": 58}]}, "/rows/0/at"),
        (LINES, '{"channel":"rhr","value":58}', "/line/1/at"),
        (LINES, '{"rhr":58}', "/line/1/at"),
    ],
)
def test_a_row_without_a_moment_is_told_that_it_is_missing(mimetype: str, body: Any, pointer: str) -> None:
    _, about = told(mimetype, body)
    assert about.faults == [{"pointer": pointer, "code": "required", "detail": "Missing data for required field."}]


def test_the_good_rows_are_taken_and_faults_are_listed_up_to_a_limit() -> None:
    bad: list[Any] = [{"channel": "rhr", "at": AT, "value": "x"}] * 150
    found, about = told(JSON, {"observations": [*bad, {"channel": "rhr", "at": AT, "value": 1}]})
    assert len(found) == 1
    assert (about.rejected, len(about.faults)) == (150, 100)


@pytest.mark.parametrize(
    ("mimetype", "body", "code"),
    [
        ("application/octet-stream", b"x", "unsupported_media_type"),
        ("", b"x", "unsupported_media_type"),
        (JSON, b"", "malformed_request"),
        (JSON, b" \n", "malformed_request"),
        (JSON, b"{", "malformed_request"),
        (JSON, b"[]", "validation_failed"),
        (JSON, b"{}", "validation_failed"),
        (JSON, b'{"observations": []}', "validation_failed"),
        (JSON, b'{"observations": {"channel": "rhr"}}', "validation_failed"),
        (JSON, b'{"rows": null}', "validation_failed"),
        (JSON, b'{"observations": [], "values": []}', "validation_failed"),
        (CSV, b"time,rhr\n", "validation_failed"),
        (CSV, b"at\n", "validation_failed"),
        (CSV, b"at,rhr,rhr\n", "validation_failed"),
        (CSV, b"at," + b"c" * 1_001 + b"\n", "validation_failed"),
        (CSV, b"at" + b",c" * 1_002 + b"\n", "validation_failed"),
        (LINES, b" " * (2**20 + 1), "body_too_large"),
        (JSON, b"[" + b"{}," * 1_010_000 + b"{}]", "body_too_large"),
        (CSV, b'at,rhr\n"2026', "malformed_request"),
        (CSV, b"\xff", "malformed_request"),
        (CSV, b"at,rhr\n2026-01-01," + b"9" * 200_000, "malformed_request"),
    ],
)
def test_bodies_that_cannot_be_read(mimetype: str, body: bytes, code: str) -> None:
    with pytest.raises(Refusal) as refusal:
        told(mimetype, body)
    assert refusal.value.code == code


def test_one_request_has_bounds() -> None:
    few = {"max_values": 3, "max_channels": 2}
    with pytest.raises(Refusal, match="may bring 3 values"):
        told(CSV, "at,a,b\n" + f"{AT},1,1\n" * 2, **few)
    for mimetype, body in ((CSV, "at,a\n" + "\n" * 3), (LINES, "{}" + "\n" * 4)):
        with pytest.raises(Refusal, match="may bring 3 lines"):
            told(mimetype, body, **few)
    with pytest.raises(Refusal, match="may name 2 channels"):
        told(LINES, f'{{"at":"{AT}","a":1,"b":2,"c":3}}', **few)
    with pytest.raises(Refusal, match="The header may name 2 channels"):
        told(CSV, "at,a,b,c,d,e\n", **few)


def test_what_an_operator_allows_to_be_passed_over() -> None:
    with pytest.raises(Refusal, match="Not a valid number"):
        told(CSV, f"at,a\n{AT},1\n" + f"{AT},x\n" * 3, max_rejected=2)
    with pytest.raises(Refusal, match="may bring 2 blank lines"):
        told(CSV, f"at,a\n{AT},1" + "\n" * 4, max_blank=2)
    assert told(CSV, f"at,a\n{AT},1\n{AT},x\n\n", max_rejected=1, max_blank=1)[1].rejected == 1


OF_TWO = [Owned("a/1", Row("rhr", MOMENT, 58.0)), Owned("b", Row("hrv", MOMENT, 41.5))]


@pytest.mark.parametrize(
    ("mimetype", "body"),
    [
        (
            JSON,
            {
                "observations": [
                    {"entity": "a/1", "channel": "rhr", "at": AT, "value": 58},
                    {"channel": "hrv", "at": AT, "value": 41.5, "entity": "b"},
                ]
            },
        ),
        (JSON, {"rows": [{"entity": "a/1", "at": AT, "rhr": 58, "hrv": None}, {"entity": "b", "at": AT, "hrv": 41.5}]}),
        (LINES, f'{{"entity":"a/1","channel":"rhr","at":"{AT}","value":58}}\n{{"entity":"b","at":"{AT}","hrv":41.5}}\n'),
        (CSV, f"entity,at,channel,value\na/1,{AT},rhr,58\nb,{AT},hrv,41.5\n"),
        (CSV, f"at,rhr,entity,hrv\n{AT},58,a/1,\n{AT},,b,41.5\n"),
    ],
)
def test_rows_of_a_fleet_name_their_entity_in_every_shape(mimetype: str, body: Any) -> None:
    found, about = owned(mimetype, body)
    assert (found, about.rejected) == (OF_TWO, 0)


@pytest.mark.parametrize(
    ("mimetype", "body", "pointer", "code"),
    [
        (JSON, {"observations": [{"channel": "rhr", "at": AT, "value": 1}]}, "/observations/0/entity", "required"),
        (JSON, {"rows": [{"at": AT, "rhr": 1}]}, "/rows/0/entity", "required"),
        (JSON, {"rows": [{"entity": 7, "at": AT, "rhr": 1}]}, "/rows/0/entity", "wrong_type"),
        (JSON, {"rows": [{"entity": None, "at": AT, "rhr": 1}]}, "/rows/0/entity", "wrong_type"),
        (JSON, {"observations": [["u"]]}, "/observations/0", "wrong_type"),
        (LINES, f'{{"entity":"a/../b","at":"{AT}","rhr":1}}', "/line/1/entity", "invalid"),
        (LINES, f'{{"entity":"a/observations","at":"{AT}","rhr":1}}', "/line/1/entity", "reserved"),
        (LINES, f'{{"entity":"{"x" * 500}","at":"{AT}","rhr":1}}', "/line/1/entity", "invalid"),
        (CSV, f"entity,at,rhr\n,{AT},1", "/line/2/entity", "invalid"),
        (CSV, f"entity,at,rhr\na\0,{AT},1", "/line/2/entity", "invalid"),
        (CSV, f"entity,at,rhr\nu,{AT},x", "/line/2/rhr", "wrong_type"),
        (CSV, f"entity,at,rhr\nu,{AT}", "/line/2", "wrong_length"),
    ],
)
def test_a_row_of_a_fleet_that_cannot_be_taken(mimetype: str, body: Any, pointer: str, code: str) -> None:
    found, about = owned(mimetype, body)
    assert found == []
    assert [(fault["pointer"], fault["code"]) for fault in about.faults] == [(pointer, code)]


@pytest.mark.parametrize("header", ["at,rhr", "entity,rhr", "entity,at", "entity,at,rhr,entity"])
def test_a_header_of_a_fleet_names_entity_and_moment(header: str) -> None:
    with pytest.raises(Refusal, match="The header must be entity,at,channel,value"):
        owned(CSV, header + "\n1,2,3,4")


def test_one_delivery_names_as_many_entities_as_a_batch() -> None:
    body = "entity,at,rhr\n" + "".join(f"e{n},{AT},1\n" for n in range(3))
    assert len(owned(CSV, body, max_batch=3)[0]) == 3
    with pytest.raises(Refusal, match="may name 2 entities"):
        owned(CSV, body, max_batch=2)


def test_an_entity_is_a_channel_like_any_other_where_the_path_names_one() -> None:
    assert told(CSV, f"at,entity\n{AT},5")[0] == [Row("entity", MOMENT, 5.0)]
