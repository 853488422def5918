"""The networks: shapes, the start at the last value, what reaches which answer, and no random number from the global stream."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ml.features import View
from ml.networks import NETWORKS, Network, build, declared, forecast_windows, holding
from ml.shapes import ahead_width, input_width
from ml.spec import CHOICES, ModelSpec
from tests.unit.ml.doubles import same, started

SPEC = ModelSpec(("a",), ("b",), window=6, hidden_size=8, num_layers=2, horizon=3, dropout=0.5)
SHAPES = {
    "one target": SPEC,
    "two targets": SPEC.override({"targets": ["a", "c"]}),
    "known ahead": SPEC.override({"future_covariates": ["d", "e"]}),
    "all at once": SPEC.override({"targets": ["a", "c"], "future_covariates": ["d"], "rolling": [2, 4]}),
}
BOTH = pytest.mark.parametrize("kind", NETWORKS)
EVERY = pytest.mark.parametrize("name", SHAPES)


def of(kind: str, name: str = "all at once") -> ModelSpec:
    return SHAPES[name].override({"network": kind})


def asked(spec: ModelSpec, batch: int, length: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, L, F) and (B, L, H, A)"""
    generator = torch.Generator().manual_seed(seed)
    sizes = ((batch, length, input_width(spec)), (batch, length, spec.horizon, ahead_width(spec)))
    return torch.randn(sizes[0], generator=generator), torch.randn(sizes[1], generator=generator)


def reach(network: Network, spec: ModelSpec, length: int, row: int) -> tuple[set[int], set[int]]:
    """The rows whose inputs, and the rows whose steps ahead, move the answer at a row."""
    inputs, ahead = (tensor.requires_grad_() for tensor in asked(spec, 1, length))
    moved = torch.autograd.grad(network(inputs, ahead)[0, row].square().sum(), (inputs, ahead), allow_unused=True, materialize_grads=True)
    return tuple({at for at in range(length) if found[0, at].any()} for found in moved)  # type: ignore[return-value]


def forgetful(spec: ModelSpec) -> Network:
    """A network whose state at a row knows that row only, so that what else is known came by attention."""
    network = started(spec)
    with torch.no_grad():
        for name, parameter in network.layers.named_parameters():
            if "weight_hh" in name:
                parameter.zero_()
            if "bias" in name:
                parameter.chunk(4)[1].fill_(-1e4)
    return network


def test_there_is_a_network_for_each_word() -> None:
    assert tuple(NETWORKS) == CHOICES["network"]


@BOTH
@EVERY
@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 10)])
def test_shapes(kind: str, name: str, batch: int, length: int) -> None:
    spec = of(kind, name)
    inputs, ahead = asked(spec, batch, length)
    assert started(spec)(inputs, ahead).shape == (batch, length, len(spec.targets), 3)
    assert started(spec).at_end(inputs, ahead[:, -1]).shape == (batch, len(spec.targets), 3)


@BOTH
@EVERY
def test_an_untrained_network_is_the_last_value_of_every_target(kind: str, name: str) -> None:
    spec, random = of(kind, name), np.random.default_rng(0)
    inputs, ahead = (tensor.numpy() for tensor in asked(spec, 4, 10))
    view = View(inputs, random.standard_normal((4, 10, len(spec.targets))), np.ones((4, 10, len(spec.targets))))
    said = forecast_windows(started(spec, speaks=False), view, ahead[:, -1])
    assert said.tolist() == np.repeat(view.last[:, -1, :, None], 3, axis=2).tolist()


def test_an_answer_is_a_change_in_running_deviations_of_its_own_target() -> None:
    spec = of("lstm", "two targets")
    network, (inputs, ahead) = started(spec), asked(spec, 2, 6)
    last, deviation = np.full((2, 6, 2), 7.0), np.tile([2.0, 100.0], (2, 6, 1))
    change = network.at_end(inputs, ahead[:, -1]).detach().numpy()
    said = forecast_windows(network, View(inputs.numpy(), last, deviation), ahead[:, -1].numpy())
    np.testing.assert_allclose(said, 7.0 + change * np.array([2.0, 100.0])[None, :, None], rtol=1e-6)


@BOTH
@EVERY
def test_the_dense_answer_at_a_row_is_the_answer_at_the_end_of_the_rows_up_to_it(kind: str, name: str) -> None:
    """What is learned from is what is served: true of both networks for chunks no longer than the window."""
    spec = of(kind, name)
    network, (inputs, ahead) = started(spec), asked(spec, 3, spec.window)
    dense = network(inputs, ahead)
    for row in range(spec.window):
        torch.testing.assert_close(dense[:, row], network.at_end(inputs[:, : row + 1], ahead[:, row]))


@BOTH
@EVERY
def test_answers_hear_their_own_past_and_their_own_steps_ahead_only(kind: str, name: str) -> None:
    spec = of(kind, name)
    rows, steps = reach(started(spec), spec, 9, 5)
    assert rows == set(range(6))
    # The direct network reads the horizon where covariates are known ahead; the other one its calendar as well.
    assert steps == ({5} if kind == "seq2seq" or spec.future_covariates else set())


@EVERY
@pytest.mark.parametrize("layers", [1, 3])
def test_the_head_of_a_direct_network_hears_the_inputs_and_every_layer(name: str, layers: int) -> None:
    """Each by columns of its own: where all others are silent it is still heard, and nothing is left over."""
    spec = of("lstm", name).override({"num_layers": layers})
    widths = [input_width(spec), *[spec.hidden_size] * (layers + bool(spec.future_covariates))]
    network, (inputs, ahead) = started(spec), asked(spec, 1, spec.window)
    whole = network.head.weight.detach().clone()
    assert whole.shape[1] == sum(widths)
    for columns in torch.split(torch.arange(sum(widths)), widths):
        with torch.no_grad():
            network.head.weight.zero_()[:, columns] = whole[:, columns]
        assert (network(inputs, ahead) != network.head.bias.view(len(spec.targets), -1)).any()


@EVERY
@pytest.mark.parametrize(
    ("row", "attended"), [(0, {0}), (3, {0, 1, 2, 3}), (5, {0, 1, 2, 3, 4, 5}), (6, {1, 2, 3, 4, 5, 6}), (11, {6, 7, 8, 9, 10, 11})]
)
def test_a_seq2seq_attends_to_its_window_and_no_further(name: str, row: int, attended: set[int]) -> None:
    spec = of("seq2seq", name)
    rows, _ = reach(forgetful(spec), spec, 12, row)
    assert rows == attended


def test_a_direct_network_that_forgets_knows_its_own_row_only() -> None:
    """What makes the test above one of attention."""
    spec = of("lstm")
    assert reach(forgetful(spec), spec, 12, 8)[0] == {8}


@pytest.mark.parametrize("step", [1, 2])
def test_a_seq2seq_answers_step_by_step(step: int) -> None:
    """A step is moved by what is known of it and of those before it, never by those after it."""
    spec = of("seq2seq")
    network, (inputs, ahead) = started(spec), asked(spec, 1, spec.window)
    other = ahead.clone()
    other[:, :, step] += 1.0
    one, two = network(inputs, ahead), network(inputs, other)
    assert torch.equal(one[..., :step], two[..., :step])
    assert (one[..., step:] != two[..., step:]).all()


@BOTH
def test_an_answer_is_the_same_whoever_is_asked_beside_it(kind: str) -> None:
    spec = of(kind)
    network, (inputs, ahead) = started(spec), asked(spec, 5, spec.window)
    together = network.at_end(inputs, ahead[:, -1])
    for one in range(5):
        torch.testing.assert_close(together[[one]], network.at_end(inputs[[one]], ahead[[one], -1]))


@BOTH
def test_the_global_stream_is_neither_read_nor_moved(kind: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = started(of(kind)).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert same(one, started(of(kind)).state_dict())
    assert not same(one, started(of(kind), seed=1).state_dict())


@BOTH
def test_every_weight_is_started_from_the_generator_and_forget_gates_open(kind: str) -> None:
    network = build(of(kind))
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 99.0)
    network.start(torch.Generator().manual_seed(0))
    for name, parameter in network.named_parameters():
        assert not (parameter == 99.0).any(), name
        if "bias_hh" in name:
            assert (parameter.chunk(4)[1] == 1.0).all(), name


@BOTH
def test_dropout_is_drawn_from_the_generator_and_only_in_training(kind: str) -> None:
    spec = of(kind)
    network, (inputs, ahead) = started(spec), asked(spec, 2, 4)
    first, again = (network(inputs, ahead, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, network(inputs, ahead))


@BOTH
@EVERY
def test_a_network_made_around_tensors_is_the_one_they_came_from(kind: str, name: str) -> None:
    """To the bit, trained on from there too; and neither what was declared nor a second one knows of it."""
    spec = of(kind, name)
    network = started(spec)
    tensors = {name: tensor.detach().clone() for name, tensor in network.named_parameters()}
    made, other = holding(spec, tensors), holding(spec, {name: torch.zeros_like(tensor) for name, tensor in tensors.items()})
    inputs, ahead = asked(spec, 2, 9)
    learned = []
    for each in (network, made):
        answer = each(inputs, ahead)
        answer.square().sum().backward()
        learned.append([answer, *(parameter.grad for parameter in each.parameters())])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*learned, strict=True))
    assert list(made.state_dict()) == list(network.state_dict())
    assert not any(parameter.any() for parameter in other.parameters())
    assert all(parameter.is_meta for parameter in declared(spec).parameters())
