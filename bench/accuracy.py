"""How good are the forecasts that are served? Ours beside the baselines, the classics, and the libraries a user would pick instead.

    python -m bench.accuracy [--sets nab,etth1] [--series 3] [--seeds 3] [--rivals autoets,darts] [--fresh]

MASE is over the same (origin, step) pairs of the last 20 % of the rows for everybody, against the in-sample seasonal naive error; ours are
means over seeds. Ours read the target alone, as the others do, and a second time with the channels of their set beside it. AutoETS and
AutoTheta are fitted once, on the rows before the test part, and brought up to each origin. Answers of rivals are remembered in
.bench-results.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from threadpoolctl import threadpool_limits

from bench.guests import LIBRARY, answer
from bench.ours import LAST, LEVELS, NETWORK, SEASONAL, SERVED, Interval, Ours, ask, ours
from bench.question import Question
from bench.sets import SeriesSet, series_sets
from bench.tables import figure, geometric_mean, markdown, mean, skill
from bench.training import parser
from ml.fitted import Case

#: Everybody but ours, whatever the rivals asked.
BASELINES = (LAST, SEASONAL)
#: What is served of a network that reads the other channels, too.
BESIDE = "served, with what is beside it"
#: A series' coverage counts as near the level asked for within so much: with 50 pairs it wanders by half of that.
NEAR_BY = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One series: what everybody's forecasts were worth."""

    set: str
    #: forecaster -> MASE, ours as means over seeds
    mase: Mapping[str, float]
    #: The network's share of what is served.
    share: float
    #: One per seed and level.
    served: Sequence[Mapping[float, Interval]]
    last: Sequence[Mapping[float, Interval]]


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    threadpool_limits(1, user_api="blas")
    rows = [row for one in series_sets(options.sets) for row in _answered(one, options)]
    sets = {name: [row for row in rows if row.set == name] for name in dict.fromkeys(row.set for row in rows)}
    others = (*BASELINES, *options.rivals)
    for table in (_mase_table(sets, others), _skill_table(sets, options.rivals), _interval_table(sets)):
        print(table, "\n")


def _options() -> argparse.Namespace:
    asked = parser(__doc__, tuple(LIBRARY))
    asked.add_argument("--seeds", type=int, default=3, help="trainings of ours per series")
    return asked.parse_args()


def _answered(one: SeriesSet, options: argparse.Namespace) -> Iterator[Row]:
    series = list(one.series())[: options.series]
    asked = [ask(one.name, name, raw, one.spec()) for name, raw in series]
    rivals = {rival: answer(rival, [question for _, question in asked], fresh=options.fresh) for rival in options.rivals}
    for (name, raw), alone in zip(series, asked, strict=True):
        trained, question = _trained(alone, options.seeds), alone[1]
        beside = ask(one.name, name, raw, one.spec(raw))
        more = _trained(beside, options.seeds) if len(one.spec(raw).inputs) > 1 else trained
        told = {BESIDE: _mean([beside[1].mase(each.forecasts[SERVED]) for each in more])}
        yield _row(question, trained, told | {rival: found[question.series].mase for rival, found in rivals.items()})


def _trained(asked: tuple[Case, Question], seeds: int) -> list[Ours]:
    case, question = asked
    return [ours(replace(case, spec=case.spec.override({"seed": seed})), question) for seed in range(seeds)]


def _row(question: Question, trained: Sequence[Ours], rivals: Mapping[str, float]) -> Row:
    baselines = {name: question.mase(trained[0].forecasts[name]) for name in BASELINES}
    network = _mean([question.mase(one.forecasts[NETWORK]) for one in trained])
    served = _mean([question.mase(one.forecasts[SERVED]) for one in trained])
    share = _mean([one.share for one in trained])
    scores = {SERVED: served, NETWORK: network, **baselines, **rivals}
    return Row(question.set, scores, share, [one.served for one in trained], [one.last for one in trained])


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


def _mase_table(sets: Mapping[str, Sequence[Row]], others: Sequence[str]) -> str:
    """Means per set; what is served as a ratio to the best other of that set, and the geometric mean of those."""
    shown = (SERVED, BESIDE)
    heads = ["MASE", "series", *shown, "network alone", *others, "network's share of it", *(f"{each} / best other" for each in shown)]
    best = {name: min(_set_mase(rows, other) for other in others) for name, rows in sets.items()}
    ratios = {name: [_set_mase(rows, each) / best[name] for each in shown] for name, rows in sets.items()}
    lines = [_mase_cells(name, rows, others, ratios[name]) for name, rows in sets.items()]
    means = [figure(geometric_mean(each)) for each in zip(*ratios.values(), strict=True)]
    return markdown(heads, [*lines, ["geometric mean", *[""] * (len(heads) - 1 - len(means)), *means]])


def _mase_cells(name: str, rows: Sequence[Row], others: Sequence[str], ratios: Sequence[float]) -> list[str]:
    scores = [figure(_set_mase(rows, each)) for each in (SERVED, BESIDE, NETWORK, *others)]
    share = _mean([row.share for row in rows])
    return [name, str(len(rows)), *scores, f"{share:.0%}", *map(figure, ratios)]


def _set_mase(rows: Sequence[Row], forecaster: str) -> float:
    return _mean([row.mase[forecaster] for row in rows])


def _skill_table(sets: Mapping[str, Sequence[Row]], rivals: Sequence[str]) -> str:
    """Mean over series of 1 − error / error of the better baseline."""
    shown = (SERVED, NETWORK, *rivals)
    lines = ([name, *(figure(_set_skill(rows, each)) for each in shown)] for name, rows in sets.items())
    return markdown(["skill", "served", "network alone", *rivals], lines)


def _set_skill(rows: Sequence[Row], forecaster: str) -> float | None:
    found = (skill(row.mase[forecaster], *(row.mase[name] for name in BASELINES)) for row in rows)
    return mean(one for one in found if one is not None)


def _interval_table(sets: Mapping[str, Sequence[Row]]) -> str:
    """Coverage of what serves (share of series near it), and mean Winkler scores in units of the MASE scale."""
    heads = ["intervals", *(f"coverage at {level:.0%} (series within 10 points)" for level in LEVELS)]
    heads += [f"Winkler at {level:.0%}, served / last value" for level in LEVELS]
    return markdown(heads, (_interval_cells(name, rows) for name, rows in sets.items()))


def _interval_cells(name: str, rows: Sequence[Row]) -> list[str]:
    covered = [_mean([seed[level].coverage for row in rows for seed in row.served]) for level in LEVELS]
    near = [_mean([float(abs(seed[level].coverage - level) <= NEAR_BY) for row in rows for seed in row.served]) for level in LEVELS]
    served = [_mean([seed[level].winkler for row in rows for seed in row.served]) for level in LEVELS]
    last = [_mean([seed[level].winkler for row in rows for seed in row.last]) for level in LEVELS]
    both = (f"{ours:.2f} / {theirs:.2f}" for ours, theirs in zip(served, last, strict=True))
    return [name, *(f"{share:.1%} ({close:.0%})" for share, close in zip(covered, near, strict=True)), *both]


if __name__ == "__main__":
    main()
