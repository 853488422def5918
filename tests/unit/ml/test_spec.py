"""The terms of a model: bounds told with field, value and fix; hashes that say which number of a version rises."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.errors import SpecInvalid
from ml.spec import BOUNDS, CHOICES, MOST_INPUTS, MOST_TARGETS, ModelSpec

SPEC = ModelSpec(("rhr",), ("steps",))


def names(count: int, kind: str = "c") -> list[str]:
    return [f"{kind}{number}" for number in range(count)]


def between(name: str) -> st.SearchStrategy[float]:
    low, high = BOUNDS[name]
    return st.floats(low, high) if isinstance(getattr(SPEC, name), float) else st.integers(int(low), int(high))


@given(
    st.fixed_dictionaries(
        {},
        optional={name: between(name) for name in BOUNDS}
        | {name: st.sampled_from(words) for name, words in CHOICES.items()}
        | {"rolling": st.lists(st.integers(2, 512), max_size=4), "future_covariates": st.sampled_from([[], ["promo"]])}
        | {"available": st.sampled_from([None, "on_sale"]), "positive": st.booleans()},
    )
)
def test_within_its_bounds_everything_is_taken_and_reads_back_the_same(changes: dict[str, Any]) -> None:
    spec = SPEC.override(changes)
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.as_dict()))) == spec


def test_the_json_form_is_whole() -> None:
    spec = SPEC.override({"future_covariates": ["promo"], "rolling": [3, 7], "available": "on_sale"})
    plain = json.loads(json.dumps(asdict(spec)))
    assert json.loads(json.dumps(spec.as_dict())) == plain


def test_the_bounds_are_those_that_were_promised() -> None:
    promised = {"window": (2, 512), "horizon": (1, 168), "hidden_size": (8, 512), "num_layers": (1, 4), "dropout": (0.0, 0.7)}
    assert {name: BOUNDS[name] for name in promised} == promised
    assert CHOICES == {"network": ("lstm", "seq2seq"), "loss": ("mae", "mse", "huber")}


@pytest.mark.parametrize("name", BOUNDS)
def test_beyond_its_bounds_the_field_the_value_and_the_fix_are_told(name: str) -> None:
    low, high = BOUNDS[name]
    for value in (low - 1, high + 1, True, float("nan"), float("inf")):
        with pytest.raises(SpecInvalid) as told:
            SPEC.override({name: value})
        assert str(told.value) == f"{name} = {value!r}: must be between {low:g} and {high:g}"
        [fault] = told.value.extra["errors"]
        assert fault["pointer"] == f"/spec/{name}"
    for value in (low, high):
        assert getattr(SPEC.override({name: value}), name) == value


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"targets": []}, "targets = (): name between 1 and 16 channels"),
        ({"targets": names(17)}, f"targets = {tuple(names(17))!r}: name between 1 and 16 channels"),
        ({"covariates": names(64)}, f"covariates = {tuple(names(64))!r}: a model reads at most 64 channels, targets among them"),
        ({"covariates": ["rhr"]}, "covariates = ['rhr']: name each channel once"),
        ({"targets": ["rhr", "rhr"]}, "targets = ['rhr']: name each channel once"),
        ({"covariates": ["steps", "steps"]}, "covariates = ['steps']: name each channel once"),
        ({"future_covariates": ["steps"]}, "future_covariates = ['steps']: name each channel once"),
        ({"future_covariates": ["rhr"]}, "future_covariates = ['rhr']: name each channel once"),
        ({"rolling": [1]}, "rolling = (1,): at most 4 numbers of rows between 2 and 512"),
        ({"rolling": [513]}, "rolling = (513,): at most 4"),
        ({"rolling": [True]}, "rolling = (True,): at most 4"),
        ({"rolling": [2, 3, 4, 5, 6]}, "rolling = (2, 3, 4, 5, 6): at most 4"),
        ({"positive": "yes"}, "positive = 'yes': must be true or false"),
        ({"positive": 1}, "positive = 1: must be true or false"),
        ({"network": "gru"}, "network = 'gru': must be one of lstm, seq2seq"),
        ({"loss": "mape"}, "loss = 'mape': must be one of mae, mse, huber"),
        ({"cadence_s": 0.5}, "cadence_s = 0.5: must be between 1 second and 31 days (2678400)"),
        ({"cadence_s": 32 * 86_400}, "cadence_s = 2764800: must be between 1 second and 31 days (2678400)"),
        ({"split": {"fit": 0.9, "stop": 0.1, "calibrate": 0.1, "test": 0.1}}, "the four shares must add up to 1"),
        ({"split": {"fit": 0.97, "stop": 0.01, "calibrate": 0.02, "test": 0.0}}, "split.test = 0.0: must be between 0.01 and 0.97"),
        ({"split": {"fit": 0.98, "stop": 0.01, "calibrate": 0.005, "test": 0.005}}, "split.fit = 0.98: must be between 0.01 and 0.97"),
        ({"split": {"fit": float("nan")}}, "split.fit = nan: must be between 0.01 and 0.97"),
        ({"colour": "red"}, "colour = 'red': unknown field; known: available, batch_size, "),
    ],
)
def test_what_makes_no_sense_is_refused_with_field_value_and_fix(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecInvalid) as caught:
        SPEC.override(changes)
    assert told in str(caught.value)
    [field] = changes
    assert caught.value.field.split(".")[0] == field
    [fault] = caught.value.extra["errors"]
    assert fault["pointer"] == "/spec/" + caught.value.field.replace(".", "/")


def test_the_most_channels_and_no_more() -> None:
    assert len(SPEC.override({"targets": names(MOST_TARGETS, "t")}).targets) == 16
    both = {"covariates": names(40), "future_covariates": names(23, "f")}
    assert len(SPEC.override(both).inputs) == MOST_INPUTS
    with pytest.raises(SpecInvalid, match="at most 64"):
        SPEC.override(both | {"future_covariates": names(24, "f")})


def test_the_inputs_are_targets_then_past_then_what_is_known_ahead() -> None:
    spec = ModelSpec(("a", "b"), ("c",), ("d",), available="e")
    assert spec.inputs == ("a", "b", "c", "d")
    assert spec.channels == ("a", "b", "c", "d", "e")
    assert spec.override({"available": None}).channels == spec.inputs


@pytest.mark.parametrize(
    ("changes", "fingerprint", "signature", "shape"),
    [
        ({}, True, True, True),
        ({"seed": 7}, False, True, True),
        ({"level": 0.8}, False, True, True),
        ({"cadence_s": 60.0}, False, True, True),
        ({"hidden_size": 32}, False, True, False),
        ({"epochs": 9}, False, True, False),
        ({"window": 9}, False, True, False),
        ({"rolling": [7]}, False, True, False),
        ({"covariates": ["sleep"]}, False, True, True),
        ({"covariates": []}, False, True, False),
        ({"future_covariates": ["promo"]}, False, True, False),
        ({"horizon": 3}, False, False, False),
        ({"network": "seq2seq"}, False, False, False),
        ({"targets": ["hrv"]}, False, True, True),
        ({"targets": ["rhr", "hrv"]}, False, True, False),
    ],
)
def test_which_hash_sees_which_change(changes: dict[str, Any], fingerprint: bool, signature: bool, shape: bool) -> None:
    """fingerprint: the same request; signature: the same for a target's consumers (else a major version); shape: may train together."""
    other = SPEC.override(changes)
    assert (other.fingerprint() == SPEC.fingerprint()) is fingerprint
    assert (other.signature("rhr") == SPEC.signature("rhr")) is signature
    assert (other.shape_key() == SPEC.shape_key()) is shape


def test_another_target_is_another_signature() -> None:
    assert SPEC.signature("rhr") != SPEC.signature("hrv")
    assert ModelSpec(("rhr", "hrv")).signature("rhr") == ModelSpec(("rhr",)).signature("rhr")


@pytest.mark.parametrize(
    ("changes", "alike"),
    [
        ({"targets": ["hrv"]}, True),
        ({"window": 9, "epochs": 3, "seed": 4, "dropout": 0.3, "level": 0.5}, True),
        ({"targets": ["rhr", "hrv"]}, False),
        ({"covariates": ["sleep"]}, False),
    ],
)
def test_what_a_base_must_have_in_common(changes: dict[str, Any], alike: bool) -> None:
    """Widths, and what each input means; not what the target is called, how far is looked back, or how it is learned."""
    assert (SPEC.override(changes).shape() == SPEC.shape()) is alike
