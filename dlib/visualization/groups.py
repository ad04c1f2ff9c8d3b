"""How experiments are named beside one another, and which of them differ in the seed alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dlib.utils.text import percent
from dlib.visualization.records import Experiment

# What tells experiments of one name apart, in this order.
_FACTS = ("task", "method", "encoder", "dataset")


@dataclass(frozen=True)
class Entry:
    """A row of a comparison: one experiment, or those that differ in their seed alone (``several``)."""

    name: str
    members: list[Experiment]

    @property
    def several(self) -> bool:
        return len(self.members) > 1

    def values(self, value: Callable[[Experiment], float | None]) -> list[float]:
        """The known values of the members."""
        return [v for member in self.members if (v := value(member)) is not None]

    def mean(self, value: Callable[[Experiment], float | None]) -> float | None:
        known = self.values(value)
        return statistics.fmean(known) if known else None

    def text(self, value: Callable[[Experiment], float | None]) -> str:
        """The members' `mean_text`."""
        return mean_text(self.values(value))


def mean_text(values: Sequence[float]) -> str:
    """A percentage; of several values the mean ± the sample standard deviation; a dash for none."""
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return percent(statistics.fmean(values) if values else None) + spread


def seedless_names(experiments: Sequence[Experiment]) -> list[str]:
    """A name for each experiment without its seed: exp_id, and what else tells it from another with this exp_id."""
    names = [e.name for e in experiments]
    for fact in _FACTS:
        values = [e.setting(fact) for e in experiments]
        if len(set(zip(names, map(str, values), strict=True))) > len(set(names)):
            names = [n if value is None else f"{n} · {value}" for n, value in zip(names, values, strict=True)]
    return names


def short_names(experiments: Sequence[Experiment]) -> list[str]:
    """A different name for each experiment: the one without the seed, the seed where it counts, then a number."""
    names = seedless_names(experiments)
    seeds = [_seed(e) for e in experiments]
    if len(set(zip(names, seeds, strict=True))) > len(set(names)):
        names = [f"{name} · seed {seed}" for name, seed in zip(names, seeds, strict=True)]
    return [
        f"{name} ({names[: i + 1].count(name)})" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]


def entries(experiments: Sequence[Experiment]) -> list[Entry]:
    """All experiments in the order given; behind the last one of several seeds a row of all of them."""
    whole, names = seedless_names(experiments), short_names(experiments)
    rows = []
    for i, experiment in enumerate(experiments):
        rows.append(Entry(names[i], [experiment]))
        same = [other for other, name in zip(experiments, whole, strict=True) if name == whole[i]]
        last = whole[i] not in whole[i + 1 :]
        if last and len(same) > 1 and len({_seed(e) for e in same}) == len(same):
            rows.append(Entry(f"{whole[i]}, {len(same)} seeds", same))
    return rows


def _seed(experiment: Experiment) -> str:
    return str(experiment.setting("seed", "?"))
