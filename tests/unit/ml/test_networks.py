"""The network: shapes, the start at the last value, and no random number from the global stream."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ml.features import View, input_width
from ml.networks import DirectLstm, forecast_windows
from ml.spec import ModelSpec

SPEC = ModelSpec(targets=("a",), covariates=("b",), hidden_size=8, num_layers=2, horizon=5, dropout=0.5)


def started(seed: int = 0) -> DirectLstm:
    network = DirectLstm.of(SPEC)
    network.start(torch.Generator().manual_seed(seed))
    return network


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 10), (7, 2)])
def test_shapes(batch: int, length: int) -> None:
    inputs = torch.zeros(batch, length, input_width(2))
    assert started()(inputs).shape == (batch, length, 5)
    assert started().at_end(inputs).shape == (batch, 5)


def test_an_untrained_network_is_the_last_value() -> None:
    random = np.random.default_rng(0)
    view = View(random.standard_normal((4, 10, input_width(2))).astype(np.float32), random.standard_normal((4, 10)), np.ones((4, 10)))
    assert forecast_windows(started(), view).tolist() == np.repeat(view.last[:, -1:], 5, axis=1).tolist()


def test_the_head_at_the_last_row_is_the_last_of_the_heads() -> None:
    network = started()
    torch.nn.init.ones_(network.head.weight)
    inputs = torch.randn(3, 6, input_width(2), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(network(inputs)[:, -1], network.at_end(inputs))


def test_later_rows_do_not_reach_earlier_outputs() -> None:
    network = started()
    torch.nn.init.ones_(network.head.weight)
    inputs = torch.randn(1, 8, input_width(2), generator=torch.Generator().manual_seed(1))
    other = inputs.clone()
    other[:, 5:] = 9.0
    assert torch.equal(network(inputs)[:, :5], network(other)[:, :5])


def test_the_global_stream_is_neither_read_nor_moved() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = started().state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    two = started().state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_dropout_is_drawn_from_the_generator_and_only_in_training() -> None:
    network, inputs = started(), torch.ones(2, 4, input_width(2))
    torch.nn.init.ones_(network.head.weight)
    first, again = (network(inputs, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, network(inputs))
