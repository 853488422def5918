"""Every other system's recipe over HTTP alone, by real workers: plants, rooms, prices with a shared base, nights and meals."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from tests.support.client import Api, Body
from tests.support.real import Points, devices, meals, people, plant, room, variants

QUICK = {"epochs": 6, "hidden_size": 16, "num_layers": 1}


def test_a_plant_is_forecast_one_step_ahead_from_the_channels_it_has(api: Api) -> None:
    api.send("plant-1", plant())
    done = api.done("/models/train", {"entity": "plant-1", "recipe": "pv-power", "spec": QUICK})
    assert done["spec"]["spec"]["targets"] == ["P"]
    assert set(done["spec"]["spec"]["covariates"]) == {"Irr", "Temp"}, "the subset it has, and no channel made up"
    forecast = api.done("/predict", {"entity": "plant-1", "target": "P"})["result"]["forecast"]
    assert (len(forecast["points"]), forecast["step"]) == (1, "PT15M")


def test_a_room_has_both_its_channels_forecast_by_one_network(api: Api) -> None:
    api.send("room-1", room())
    done = api.done("/models/train", {"entity": "room-1", "recipe": "sensor-climate", "spec": QUICK})
    result = done["result"]
    assert [result["target"], *(other["target"] for other in result["others"])] == ["temperature", "humidity"]
    models = {model["name"]: model for model in api.get("/models/user/room-1")["data"]}
    assert models.keys() == {"temperature", "humidity"}
    for name, model in models.items():
        assert model["active_version"]["job"] == done["id"]
        forecast = api.done("/predict", {"entity": "room-1", "target": name})["result"]["forecast"]
        assert (forecast["target"], len(forecast["points"])) == (name, 12)
        assert all(point["lower"] <= point["value"] <= point["upper"] for point in forecast["points"])


@pytest.fixture(scope="module")
def shop(api: Api) -> dict[str, Points]:
    found = variants()
    for name, channels in found.items():
        api.send(name, channels)
    return found


@pytest.fixture(scope="module")
def base(api: Api, shop: dict[str, Points]) -> Body:
    asked = {"name": "prices-base", "recipe": "price-week", "entities": list(shop)[:-1], "look_back_hours": 9_999}
    return api.done("/models/pretrain", {**asked, "spec": {**QUICK, "epochs": 12, "future_covariates": ["promotion"]}})


def test_a_base_is_learned_from_many_variants_and_serves_nobody(api: Api, base: Body) -> None:
    result = base["result"]
    assert (result["base"], result["entities"], result["version"]) == ("prices-base", 5, "1.0.0")
    [model] = api.get("/models/user/prices-base", kind="base")["data"]
    assert model["id"] == result["model"]
    refused = api.post("/predict", {"entity": "prices-base", "target": "price"})
    assert refused.status_code == 404


def test_a_variant_is_fine_tuned_from_the_base_in_a_few_epochs(api: Api, shop: dict[str, Points], base: Body) -> None:
    variant = list(shop)[-1]
    asked = {"entity": variant, "recipe": "price-week", "base": {"name": "prices-base"}, "look_back_hours": 9_999}
    done = api.done("/models/train", {**asked, "spec": {"epochs": 5, "learning_rate": 1e-3}})
    assert done["spec"]["base"]["version"] == "1.0.0"
    spec = done["spec"]["spec"]
    assert (spec["network"], spec["hidden_size"], spec["future_covariates"]) == ("seq2seq", 16, ["promotion"]), "the base's shape"
    assert any(notice["code"] == "rows_dropped" for notice in done["warnings"]), "days without the product are dropped, and said"
    forecast = api.done("/predict", {"entity": variant, "target": "price"})["result"]["forecast"]
    assert len(forecast["points"]) == 7
    assert all(math.isfinite(point["value"]) and point["value"] > 0 for point in forecast["points"])
    assert all(a["at"] < b["at"] for a, b in pairwise(forecast["points"]))


def test_a_base_of_another_shape_is_refused_and_the_field_is_named(api: Api, shop: dict[str, Points], base: Body) -> None:
    asked = {"entity": next(iter(shop)), "recipe": "price-week", "base": {"name": "prices-base"}, "spec": {"hidden_size": 32}}
    refused = api.post("/models/train", asked)
    assert refused.status_code == 422
    [error] = refused.json()["errors"]
    assert error["pointer"] == "/spec/hidden_size"


def test_meals_are_asked_for_21_days_when_they_are_read(api: Api) -> None:
    person = people()["rich"]
    days = [at for at, _ in person["rhr"]]
    eaten = {name: [(at, value) for at, (_, value) in zip(days, points, strict=False)] for name, points in meals(len(days)).items()}
    api.send("eater", person | {name: points[:10] for name, points in eaten.items()})
    asked = {"entity": "eater", "recipe": "health-daily", "target": "rhr", "spec": {**QUICK, "covariates": ["calories_in", "protein_g"]}}
    refused = api.post("/models/train", asked)
    assert refused.status_code == 422
    unmet = {r["name"]: (r["have"], r["need"]) for r in refused.json()["requirements"] if not r["met"]}
    assert unmet == {"calories_in.days": (10, 21), "protein_g.days": (10, 21)}

    api.send("eater", eaten)
    done = api.done("/models/train", asked)
    assert done["spec"]["spec"]["covariates"] == ["calories_in", "protein_g"]
    assert done["spec"]["spec"]["rolling"] == [7]


def test_a_device_is_watched_and_what_was_planted_is_called(api: Api) -> None:
    name, points = next(iter(devices().items()))
    [(channel, rows)] = points.items()
    *_, (last, _) = rows
    spike = 20 * max(abs(value) for _, value in rows)
    api.send(name, {channel: rows[:-6]})
    refused = api.post("/anomalies/train", {"entity": name})
    assert refused.status_code == 422
    [error] = refused.json()["errors"]
    assert (error["pointer"], channel in error["detail"]) == ("/channels", True), "none of the recipe's own; it hears what there is"

    trained = api.done("/anomalies/train", {"entity": name, "recipe": "device-anomaly", "channels": [channel], "look_back_hours": 9_999})
    assert (trained["kind"], trained["result"]["active"], trained["result"]["served_by"]) == ("anomaly_train", True, "isolation_forest")
    assert trained["result"]["training_samples"] > 1_000
    assert all(feature.startswith(channel) for feature in trained["result"]["features"])

    api.send(name, {channel: [*rows[-6:-1], (last, spike)]})
    done = api.done("/anomalies/detect", {"entity": name})
    assert done["result"]["is_anomaly"]
    newest = done["result"]["anomalies"][-1]
    assert (newest["severity"], newest["contributions"][0]["value"]) == ("critical", spike)
    listed = api.get(f"/entities/{name}/anomalies", severity="critical")["data"]
    assert listed[0]["job"] == done["id"]
    again = api.done("/anomalies/detect", {"entity": name, "hours": 12})
    assert [each["at"] for each in api.get(f"/entities/{name}/anomalies", severity="critical")["data"]] == [each["at"] for each in listed]
    assert again["result"]["anomalies"][-1] == newest
