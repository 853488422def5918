"""From a .pth to a base's zip: trusted by name, tensors alone, and every misfit told by name and shape."""

from __future__ import annotations

import io
import json
import pickle  # noqa: TID251  # the attack itself
import zipfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from click.testing import CliRunner, Result
from torch import Tensor, nn

from ml import weights
from ml.networks import build
from ml.shapes import input_width
from ml.shelf import MANIFEST, WEIGHTS
from ml.spec import ModelSpec
from ops import cli
from webapp.parcels import parcel

SPEC = ModelSpec(("price",), ("views",), window=14, horizon=3, hidden_size=8, num_layers=2)
MOST = 2**20


class Textbook(nn.Module):
    """As notebooks write it."""

    def __init__(self, width: int = input_width(SPEC), hidden: int = 8, layers: int = 2, out: int = 3, *, both: bool = False) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, num_layers=layers, batch_first=True, bidirectional=both)
        self.fc = nn.Linear(hidden, out)

    def forward(self, inputs: Tensor) -> Tensor:
        states, _ = self.lstm(inputs)
        answer: Tensor = self.fc(states[:, -1])
        return answer


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(SPEC.as_dict()))
    return file


def saved(folder: Path, content: Any) -> Path:
    file = folder / "model.pth"
    torch.save(content, file)  # noqa: TID251  # what is to be converted
    return file


def convert(file: Path, spec_file: Path, *flags: str) -> Result:
    to = file.with_name("base.zip")
    return CliRunner().invoke(cli.main, ["convert", str(file), "--spec", str(spec_file), "--to", str(to), *flags])


def trusted(file: Path, spec_file: Path) -> Result:
    return convert(file, spec_file, "--trust-pickle")


def test_without_the_flag_it_says_why_and_reads_nothing(tmp_path: Path, spec_file: Path) -> None:
    told = convert(saved(tmp_path, Textbook().state_dict()), spec_file)
    assert told.exit_code == 1
    assert "a pickle can run code" in told.output
    assert "--trust-pickle" in told.output
    assert not (tmp_path / "base.zip").exists()


def test_a_textbook_network_answers_here_as_it_did_there(tmp_path: Path, spec_file: Path) -> None:
    theirs = Textbook().eval()
    told = trusted(saved(tmp_path, theirs.state_dict()), spec_file)
    assert told.exit_code == 0, told.output
    assert "a starting point, no more" in told.output
    ours = build(SPEC).eval()
    ours.load_state_dict(safetensors.torch.load(parcel((tmp_path / "base.zip").read_bytes(), MOST).weights))
    inputs = torch.randn(5, 14, input_width(SPEC))
    with torch.inference_mode():
        torch.testing.assert_close(ours.at_end(inputs, torch.zeros(5, 3, 2))[:, 0], theirs(inputs))


def test_what_is_written_can_be_imported(tmp_path: Path, spec_file: Path) -> None:
    assert trusted(saved(tmp_path, Textbook().state_dict()), spec_file).exit_code == 0
    content = (tmp_path / "base.zip").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        assert sorted(opened.namelist()) == [f"base/{MANIFEST}", f"base/{WEIGHTS}"]
    found = parcel(content, MOST)
    assert (found.spec, found.recipe) == (SPEC, None)
    weights.require(found.weights, SPEC)


@pytest.mark.parametrize("nest", ["state_dict", "model_state_dict", "model"])
def test_a_checkpoint_is_looked_into_and_wider_numbers_are_narrowed(tmp_path: Path, spec_file: Path, nest: str) -> None:
    checkpoint = {"epoch": 3, nest: Textbook().double().state_dict(), "loss": 0.5}
    assert trusted(saved(tmp_path, checkpoint), spec_file).exit_code == 0


@pytest.mark.parametrize("network", ["lstm", "seq2seq"])
def test_our_own_names_are_taken_as_they_are(tmp_path: Path, spec_file: Path, network: str) -> None:
    spec = SPEC.override({"network": network, "future_covariates": ["deal"]})
    spec_file.write_text(json.dumps({"spec": spec.as_dict()}))
    told = trusted(saved(tmp_path, build(spec).state_dict()), spec_file)
    assert told.exit_code == 0, told.output
    weights.require(parcel((tmp_path / "base.zip").read_bytes(), MOST).weights, spec)


def without(name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in Textbook().state_dict().items() if key != name}


def not_finite() -> dict[str, Tensor]:
    found = Textbook().state_dict()
    found["fc.bias"][1] = float("nan")
    return found


#: What is saved, and what is said of it.
MISFITS: list[tuple[Any, str]] = [
    (Textbook(width=1).state_dict(), "The network reads 1 numbers a row, and this spec gives it 8"),
    (Textbook(width=64).state_dict(), "The network reads 64 numbers a row, and this spec gives it 8"),
    (Textbook(hidden=16).state_dict(), "lstm.weight_hh_l0: [64, 16], [32, 8] is wanted"),
    (Textbook(layers=1).state_dict(), "lstm.weight_ih_l1: missing, [32, 8] is wanted"),
    (Textbook(layers=3).state_dict(), "lstm.weight_ih_l2: [32, 8], not expected"),
    (Textbook(both=True).state_dict(), "lstm.weight_ih_l0_reverse: [32, 8], not expected"),
    (Textbook(out=1).state_dict(), "fc.weight: [1, 8], [3, 8] is wanted"),
    (without("fc.bias"), "fc.bias: missing, [3] is wanted"),
    (Textbook().state_dict() | {"attention.weight": torch.zeros(2, 2)}, "attention.weight: [2, 2], not expected"),
    (nn.GRU(8, 8).state_dict(), "lstm.weight_ih_l0: missing, [32, 8] is wanted"),
    (not_finite(), "head.bias: number 1 of 3 is nan"),
    ({}, "holds no state dict"),
    ([torch.zeros(3)], "holds no state dict"),
    ({"lstm.weight_ih_l0": 1}, "holds no state dict"),
    (torch.zeros(3), "holds no state dict"),
    (Textbook(), "no state dict that PyTorch reads with weights_only"),
]


@pytest.mark.parametrize(("content", "said"), MISFITS, ids=[said[:40] for _, said in MISFITS])
def test_what_does_not_fit_is_told_by_name_and_shape(tmp_path: Path, spec_file: Path, content: Any, said: str) -> None:
    told = trusted(saved(tmp_path, content), spec_file)
    assert told.exit_code == 1
    assert said in told.output
    assert not (tmp_path / "base.zip").exists()


def test_a_textbook_network_has_no_counterpart_in_other_families(tmp_path: Path, spec_file: Path) -> None:
    for change in ({"network": "seq2seq"}, {"future_covariates": ["deal"]}):
        spec_file.write_text(json.dumps(SPEC.override(change).as_dict()))
        told = trusted(saved(tmp_path, Textbook().state_dict()), spec_file)
        assert (told.exit_code, "has no counterpart" in told.output) == (1, True)


class Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("harm"),))


@pytest.mark.parametrize(
    "content", [pickle.dumps(Attack(), protocol=2), b"", b"no pickle", b"PK\x03\x04torn", pickle.dumps([1, 2], protocol=2)]
)
def test_no_code_runs_and_rubbish_is_told(tmp_path: Path, spec_file: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "model.pth"
    file.write_bytes(content)
    told = trusted(file, spec_file)
    assert told.exit_code == 1
    assert "Error: " in told.output
    assert not told.output.startswith("Traceback")
    assert {path.name for path in tmp_path.iterdir()} == {"model.pth", "spec.json"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"targets": []}', '{"targets": ["a"], "windows": 3}', '{"spec": 1}', '{"targets": 1}'])
def test_a_spec_that_is_none(tmp_path: Path, spec_file: Path, text: str) -> None:
    spec_file.write_text(text)
    told = trusted(saved(tmp_path, Textbook().state_dict()), spec_file)
    assert (told.exit_code, "is no spec" in told.output) == (1, True), told.output
