"""The environment becomes one frozen object, or a sentence that names the variable, the value and the fix."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import pytest

from tasks.environment import environment, load
from tasks.settings import Settings, SettingsError


def test_nothing_set_gives_the_defaults() -> None:
    assert load({}) == Settings()


def test_every_setting_can_be_set_and_says_what_for() -> None:
    for field in fields(Settings):
        assert field.metadata["why"].endswith("."), field.name
        kinds = {
            "str": "text",
            "int": "2048",
            "float": "7.5",
            "Path": "/models",
            "Schemes": "https,http",
            "Networks": "10.1.0.0/16,fd12::/48",
        }
        loaded = load({field.name.upper(): kinds[str(field.type)]})
        assert str(getattr(loaded, field.name)) == kinds[str(field.type)], field.name


@pytest.mark.parametrize(
    ("variable", "value", "name", "read"),
    [
        ("TRAINING_TIMEOUT", "120", "training_timeout_s", 120.0),
        ("MAX_CONCURRENT_TRAINING", "2", "worker_concurrency", 2),
        ("MODEL_STORAGE_PATH", "/app/models", "model_dir", Path("/app/models")),
        ("MODEL_DIR", "/m", "model_dir", Path("/m")),
        ("MIN_TRAINING_SAMPLES", "50", "min_training_samples", 50),
        ("LSTM_SEQUENCE_LENGTH", "24", "lstm_sequence_length", 24),
        ("LSTM_FORECAST_HORIZON", "6", "lstm_forecast_horizon", 6),
        ("ML_SERVICE_PORT", "5000", "api_port", 5000),
        ("API_HOST", "0.0.0.0", "api_host", "0.0.0.0"),
    ],
)
def test_the_variables_of_the_earlier_services_are_understood(variable: str, value: str, name: str, read: object) -> None:
    assert getattr(load({variable: value}), name) == read


def test_our_own_name_wins_over_an_older_one_and_empty_counts_as_unset() -> None:
    assert load({"API_PORT": "1", "ML_SERVICE_PORT": "2"}).api_port == 1
    assert load({"API_PORT": "", "ML_SERVICE_PORT": "2"}).api_port == 2


@pytest.mark.parametrize(
    ("variable", "value", "fix"),
    [
        ("LEASE_S", "soon", "must be a number"),
        ("MAX_ATTEMPTS", "2.5", "must be a whole number"),
        ("MAX_ATTEMPTS", "0", "must be at least 1"),
        ("TRAINING_TIMEOUT", "nan", "must be at least 1"),
        ("CACHE_TIMEOUT_S", "0", "must be at least 0.001"),
        ("WEBHOOK_SCHEMES", "https,ftp", "must be https, http, or both with a comma between"),
        ("WEBHOOK_NETWORKS", "10.1.0.1/16", "must be networks such as 10.1.0.0/16, with commas between"),
    ],
)
def test_what_cannot_be_used_is_told_with_variable_value_and_fix(variable: str, value: str, fix: str) -> None:
    with pytest.raises(SettingsError) as told:
        load({variable: value})
    assert str(told.value) == f"{variable}={value!r}: {fix}"


def test_a_child_process_loads_the_same_settings() -> None:
    settings = replace(load({}), database_url="postgresql+psycopg://u:p@h/d", lease_s=3.5, model_dir=Path("/with a space"))
    assert load(environment(settings)) == settings


def test_a_child_process_reads_the_same_files_wherever_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text("redis://:hunter2@h/0\n")
    monkeypatch.chdir(tmp_path)
    settings = load({"REDIS_URL_FILE": "url", "DATABASE_URL": "postgresql+psycopg://u:p@h/d"})
    told = environment(settings)
    assert "REDIS_URL" not in told
    assert told["REDIS_URL_FILE"] == str(tmp_path / "url")
    assert not any("hunter2" in value for value in told.values())
    monkeypatch.chdir("/")
    assert load(told) == settings
    assert environment(replace(settings, redis_url="redis://mine"))["REDIS_URL"] == "redis://mine", "what replaced it"


def test_secrets_do_not_show_and_nothing_changes_its_mind() -> None:
    settings = load({"DATABASE_URL": "postgresql+psycopg://u:hunter2@h/d", "FLOWER_BASIC_AUTH": "o:hunter2"})
    assert "hunter2" not in repr(settings)
    with pytest.raises(FrozenInstanceError):
        settings.lease_s = 1.0  # type: ignore[misc]


def test_the_operator_moves_the_device_preset() -> None:
    changes = load({"LSTM_SEQUENCE_LENGTH": "24", "MIN_TRAINING_SAMPLES": "300"}).recipe_changes["device-metric"]
    assert (changes["window"], changes["min_rows"]) == (24, 300)


def test_a_secret_may_stand_in_a_file_and_its_own_variable_wins(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("redis://:hunter2@h/0\n")
    assert load({"REDIS_URL_FILE": str(file)}).redis_url == "redis://:hunter2@h/0"
    assert load({"REDIS_URL_FILE": str(file), "REDIS_URL": ""}).redis_url == "redis://:hunter2@h/0", "empty counts as unset"
    assert load({"REDIS_URL_FILE": str(file), "REDIS_URL": "redis://mine"}).redis_url == "redis://mine"
    assert load({"REDIS_URL_FILE": ""}).redis_url == ""
    assert load({"LOG_LEVEL_FILE": str(file)}).log_level == "INFO", "only secrets are read from files"


def test_a_secrets_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for file in (tmp_path / "none", tmp_path / "bytes", tmp_path):
        with pytest.raises(SettingsError) as told:
            load({"DATABASE_URL_FILE": str(file)})
        assert str(told.value) == f"DATABASE_URL_FILE={str(file)!r}: must name a text file that this user can read"
