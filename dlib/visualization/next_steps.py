"""What to do with an experiment next, with the commands, from what it has measured."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from dlib.commands.registry import COMMANDS
from dlib.configure.config import Config, command_line_words
from dlib.configure.constants import BEST_LOCALIZATION, TASKS
from dlib.visualization.records import Experiment, below, number

_LOW_ACCURACY = 80.0  # percent: below it CAMs show the wrong things (doc/tutorial.md)
_PLACES = ("data_root", "metadata_root", "pretrained_root", "cams_root", "exps_root")


class Step(NamedTuple):
    """What to do, and the command that does it; empty if there is none."""

    text: str
    command: str = ""


def next_steps(experiment: Experiment, command: str) -> list[Step]:
    """The next steps of a run; ``command`` started it."""
    if not (experiment.finished or experiment.tested):
        found = [Step("If the run has stopped, start the same command again: it resumes.", command)]
        root = experiment.setting("exps_root")
        return found + (
            [Step("See how far all runs are.", _call("status", "--exps_root", str(root)))] if root else []
        )
    entry = TASKS.get(str(experiment.setting("task")))
    return _of_maps(experiment) if entry and entry.builds_on_classifier else _of_classifier(experiment)


def _of_classifier(experiment: Experiment) -> list[Step]:
    folder, steps = str(experiment.folder), []
    accuracy = number(below(experiment.report(BEST_LOCALIZATION), "classification"))
    if accuracy is not None and accuracy < _LOW_ACCURACY:
        steps.append(
            Step(
                f"Only {accuracy:.0f} % of the test frames are classified right: the maps then show the wrong things. "
                "Train longer, get more videos, or look for videos in the wrong class."
            )
        )
    encoder = str(experiment.setting("encoder", "resnet50"))
    data = str(experiment.setting("dataset", "DATASET"))
    pretrained = str(experiment.config.get("pretrained_root") or "pretrained")
    promote = ["bash", "cmds/promote.sh", folder, *([pretrained] if pretrained != "pretrained" else [])]
    steps.append(Step("Promote its weights, so that CoLo-CAM finds them.", shlex.join(promote)))
    train = ["bash", "cmds/colocam.sh", encoder, data, *_places(experiment)]
    steps.append(Step("Train CoLo-CAM on it.", shlex.join(train)))
    return [*steps, _localize(folder), _figure(folder)]


def _of_maps(experiment: Experiment) -> list[Step]:
    folder, steps = str(experiment.folder), []
    own = number(below(experiment.report(BEST_LOCALIZATION), "headline"))
    classifier = number(below(experiment.results, "classifier_test", "headline"))
    if own is not None and classifier is not None and own < classifier:
        steps.append(
            Step(
                "Its maps localize worse than the classifier's CAMs that gave the seeds. Change one thing at a time, "
                "with another --exp_id: a lower --rgb_jcrf_clc_lambda, --sl_clc_roi_mask region, a smaller "
                "--sl_clc_max_p. doc/small_data.md has a recipe for few videos."
            )
        )
    return [
        *steps,
        Step("See what it adds to its classifier.", _call("gain", folder)),
        _localize(folder),
        _figure(folder),
        Step(
            "See several runs side by side.",
            f"{_call('compare', folder)} OTHER_EXPERIMENT --out compare.html",
        ),
        Step("Use the model in other programs.", _call("export", "--fd_exp", folder, "--format", "onnx")),
    ]


def _localize(folder: str) -> Step:
    words = ("--fd_exp", folder, "--input", "VIDEO", "--out", "found")
    return Step("Find the objects in new videos.", _call("localize", *words))


def _figure(folder: str) -> Step:
    return Step("Draw a figure for a paper.", _call("figure", folder, "--frames", "4", "--out", "figure"))


def _places(experiment: Experiment) -> list[str]:
    """The flags that say where this run's files are, if they are not the usual ones."""
    usual = Config()
    given = {name: experiment.config.get(name) for name in _PLACES}
    return command_line_words(
        {name: value for name, value in given.items() if value not in (None, "", getattr(usual, name))}
    )


def _call(name: str, *words: str) -> str:
    return f"{COMMANDS[name].without_colocam} {shlex.join(words)}"
