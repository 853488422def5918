"""How long does one model take to train, and how good is it? Ours against what a user would pick instead, on the same rows.

    python -m bench.training [--sets nab,etth1] [--series 3] [--rivals textbook,darts,neuralforecast] [--fresh]

Everybody reads the target alone, with the same window, horizon, width and layers, on one core. MASE is over the same (origin, step) pairs
of the last 20 % of the rows, against the in-sample seasonal naive error. Seconds are CPU seconds, for machines are shared; wall seconds
stand beside them. Ours are told twice: until the last epoch had ended, as theirs are, and whole, with judging and intervals, which they
have none of. Answers of rivals are remembered in .bench-results.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from threadpoolctl import threadpool_limits

from bench.guests import NETWORKS, Answer, answer
from bench.ours import LAST, NETWORK, SEASONAL, Ours, ask, ours
from bench.question import Question
from bench.sets import SeriesSet, series_sets, wave
from bench.tables import figure, markdown, mean, skill

#: Rows from which a series is long enough for its ratio to say something about training rather than about starting up.
LONG = 2_000


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One series, learned by everybody."""

    question: Question
    ours: Ours
    rivals: Mapping[str, Answer]

    @property
    def mase(self) -> float:
        return self.question.mase(self.ours.forecasts[NETWORK])

    @property
    def naive(self) -> tuple[float, float]:
        return self.question.mase(self.ours.forecasts[LAST]), self.question.mase(self.ours.forecasts[SEASONAL])

    @property
    def near_seconds(self) -> float:
        """CPU seconds until our stop loss was within 1 % of its final best."""
        return self.ours.near_after * self.ours.learning_cpu_seconds

    def faster(self, rival: str) -> float:
        """With all that we do besides."""
        return self.rivals[rival].cpu_seconds / self.ours.cpu_seconds

    def faster_to_learn(self, rival: str) -> float:
        return self.rivals[rival].cpu_seconds / self.ours.learning_cpu_seconds


def main() -> None:
    options = parser(__doc__, NETWORKS).parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1, user_api="blas")
    _warm_up()
    lines = [line for one in series_sets(options.sets) for line in _learned(one, options)]
    print(_series_table(lines, options.rivals), "\n")
    print(_ratio_table(lines, options.rivals), "\n")
    print(_headline([line for line in lines if line.question.rows >= LONG], options.rivals))


def parser(text: str | None, rivals: Sequence[str]) -> argparse.ArgumentParser:
    """What both comparisons can be asked."""
    found = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--sets", type=_words, default=(), help="some of the sets, with commas between")
    found.add_argument("--series", type=int, default=None, help="at most so many series of each set")
    found.add_argument("--rivals", type=_words, default=tuple(rivals), help=f"of {', '.join(rivals)}")
    found.add_argument("--fresh", action="store_true", help="ask the rivals again, whatever is remembered")
    return found


def _words(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _learned(one: SeriesSet, options: argparse.Namespace) -> Iterator[Line]:
    spec = one.spec()
    asked = [ask(one.name, name, raw, spec) for name, raw in list(one.series())[: options.series]]
    rivals = {rival: answer(rival, [question for _, question in asked], fresh=options.fresh) for rival in options.rivals}
    for case, question in asked:
        yield Line(question, ours(case, question), {rival: found[question.series] for rival, found in rivals.items()})


def _warm_up() -> None:
    """Load what torch loads at its first update, so that it is nobody's time."""
    [one] = series_sets(("generated",))
    ours(*ask("warm-up", "wave", {"value": wave(0, 400)}, one.spec().override({"epochs": 1})))


def _series_table(lines: Sequence[Line], rivals: Sequence[str]) -> str:
    heads = ["series", "rows", "last value", "ours: MASE", "skill", "training, CPU s", "whole, CPU s (wall)", "near its best after"]
    heads += [f"{rival}: {what}" for rival in rivals for what in ("MASE", "CPU s (wall)")]
    return markdown(heads, ([*_our_cells(line), *(cell for rival in rivals for cell in _cells(line.rivals[rival]))] for line in lines))


def _our_cells(line: Line) -> list[str]:
    question, seconds = line.question, _cost(line.ours.cpu_seconds, line.ours.seconds)
    scores = [figure(line.naive[0]), figure(line.mase), figure(skill(line.mase, *line.naive))]
    learning = figure(line.ours.learning_cpu_seconds, 1)
    return [f"{question.set}/{question.series}", f"{question.rows:,}", *scores, learning, seconds, figure(line.near_seconds, 1, " s")]


def _cells(found: Answer) -> tuple[str, str]:
    return figure(found.mase), _cost(found.cpu_seconds, found.seconds)


def _cost(cpu_seconds: float, seconds: float) -> str:
    return f"{cpu_seconds:.1f} ({seconds:.1f})"


def _ratio_table(lines: Sequence[Line], rivals: Sequence[str]) -> str:
    """Per set: mean errors, and how many times our CPU seconds the others took."""
    sets = list(dict.fromkeys(line.question.set for line in lines))
    heads = ["set", "ours: MASE", "training, median CPU s", "whole, median CPU s"]
    heads += [f"{rival}: {what}" for rival in rivals for what in ("MASE", "CPU time of our training", "of our whole")]
    return markdown(heads, (_set_cells(name, [line for line in lines if line.question.set == name], rivals) for name in sets))


def _set_cells(name: str, lines: Sequence[Line], rivals: Sequence[str]) -> list[str]:
    seconds = [[of.learning_cpu_seconds for of in (line.ours for line in lines)], [line.ours.cpu_seconds for line in lines]]
    cells = [name, figure(mean(line.mase for line in lines)), *(figure(statistics.median(each), 1) for each in seconds)]
    for rival in rivals:
        ratios = [statistics.median(of(line, rival) for line in lines) for of in (Line.faster_to_learn, Line.faster)]
        cells += [figure(mean(line.rivals[rival].mase for line in lines)), *(figure(ratio, 1, "×") for ratio in ratios)]
    return cells


def _headline(lines: Sequence[Line], rivals: Sequence[str]) -> str:
    if not lines:
        return f"No series has {LONG:,} rows."

    def medians(of: Callable[[Line, str], float]) -> str:
        return ", ".join(f"{rival} {statistics.median(of(line, rival) for line in lines):.1f}×" for rival in rivals)

    return (
        f"Median CPU time over our training, {len(lines)} series with at least {LONG:,} rows: {medians(Line.faster_to_learn)}; "
        f"with our judging and intervals: {medians(Line.faster)}; "
        f"until our stop loss was near its best: {medians(lambda line, rival: line.rivals[rival].cpu_seconds / line.near_seconds)}."
    )


if __name__ == "__main__":
    main()
