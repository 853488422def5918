"""A real Prometheus reads a running house: every panel and every rule is answered, and a house that is well alarms nobody."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from ops.processes import usable_port, wait_until
from tests.support.client import House
from tests.unit.ops.test_alerts import PAGE, RULES, RULES_FILE, dashboard

PROMETHEUS = shutil.which("prometheus")
pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason="there is no Prometheus here; Debian has it as a package")


@pytest.fixture(scope="module")
def prometheus(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """As docs/operations.md sets it up, but that it looks every second."""
    folder = tmp_path_factory.mktemp("prometheus")
    told = yaml.safe_load(re.search(r"^```yaml\n(rule_files.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[1])  # type: ignore[index]
    [scraped] = told["scrape_configs"]
    assert scraped["static_configs"] == [{"targets": ["127.0.0.1:8000"]}]
    scraped |= {"static_configs": [{"targets": [house.url.removeprefix("http://")]}], "scrape_interval": "1s"}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(told | {"global": {"evaluation_interval": "1s"}}))
    shutil.copy(RULES_FILE, folder / "alerts.yml")
    url = f"http://127.0.0.1:{usable_port(0)}"
    command = [
        str(PROMETHEUS),
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        f"--web.listen-address={url.removeprefix('http://')}",
    ]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process,
        httpx.Client(base_url=f"{url}/api/v1") as client,
    ):
        try:
            assert wait_until(lambda: ready(client), 30, pause=0.2), (folder / "log").read_text()
            yield client
        finally:
            process.terminate()


def ready(client: httpx.Client) -> bool:
    """It has looked at the house some times, and asked itself every rule."""
    try:
        if client.get("/query", params={"query": "up"}).status_code == 503:
            return False
    except httpx.TransportError:
        return False
    looks = found(client, "count_over_time(up[1m])")
    return bool(looks) and int(looks[0]["value"][1]) >= 5 and all(rule["health"] != "unknown" for rule in rules(client))


def found(client: httpx.Client, expression: str) -> list[dict[str, Any]]:
    answer = client.get("/query", params={"query": expression})
    assert answer.status_code == 200, answer.text
    series: list[dict[str, Any]] = answer.json()["data"]["result"]
    return series


def rules(client: httpx.Client) -> list[dict[str, Any]]:
    [group] = client.get("/rules").json()["data"]["groups"] or [{"rules": []}]
    asked: list[dict[str, Any]] = group["rules"]
    return asked


def test_every_panel_of_the_dashboard_shows_something(prometheus: httpx.Client) -> None:
    """But those that tell of what a house that is well, without sources and without a card, has not."""
    shown: dict[str, int] = {}
    for title, expression, _ in dashboard():
        shown[title] = shown.get(title, 0) + len(found(prometheus, expression))
    empty = {title for title, series in shown.items() if not series}
    assert empty <= {
        "Failed, by problem",
        "Tries, by how they ended",
        "Tries that met a problem",
        "Refused, by problem",
        "Sources",
        "Memory of cards",
    }


def test_every_alert_is_understood_and_a_house_that_is_well_wakes_nobody(prometheus: httpx.Client) -> None:
    asked = rules(prometheus)
    assert [rule["name"] for rule in asked] == [rule["alert"] for rule in RULES]
    assert {rule["health"] for rule in asked} == {"ok"}, [rule.get("lastError") for rule in asked]
    assert [rule["name"] for rule in asked if rule["state"] == "firing" and rule["labels"]["severity"] == "critical"] == []
