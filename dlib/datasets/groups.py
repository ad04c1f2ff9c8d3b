"""Frames of an evaluation split that belong together."""

from __future__ import annotations

from dlib.datasets.metadata import SplitMetadata


def shot_groups(split: SplitMetadata, size: int) -> list[list[int]]:
    """Indices of a split of frames, at most ``size`` of a shot together, each frame once.

    Frames of a shot lie in one folder and have one label. A group's frames follow one another in the split, but
    for those of other shots.
    """
    groups: list[list[int]] = []
    latest: dict[tuple[str, int], list[int]] = {}  # of each shot
    for index, (name, label) in enumerate(zip(split.ids, split.labels.tolist(), strict=True)):
        shot = name.rpartition("/")[0], label
        if len(latest.get(shot, ())) in (0, size):
            groups.append([])
            latest[shot] = groups[-1]
        latest[shot].append(index)
    return groups
