"""All flags as one object, how it is read from the command line and YAML, and the paths that follow from it.

Nothing here imports torch, so that ``main.py --help`` is fast.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dlib.configure.checks import check_config
from dlib.configure.constants import METHODS, TASKS, YTOV1, YTOV2, spellings
from dlib.configure.flag import Flag, nearest, shorten
from dlib.configure.reference import help_text
from dlib.configure.refused import refuse_foreign_flag, refuse_foreign_task
from dlib.configure.table import FLAGS, Flags, spelled
from dlib.utils.errors import UsageError, UserError


@dataclass(frozen=True)
class Config(Flags):
    """Every flag with its effective value; ``explicit`` names the given ones (command line or --config)."""

    explicit: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    @property
    def seed(self) -> int:
        """``MYSEED`` as a number."""
        return int(self.MYSEED)

    @property
    def eval_side(self) -> int:
        """Side in pixels of the frames in validation, test and localization."""
        return self.eval_size or self.crop_size

    @classmethod
    def from_values(cls, values: Mapping[str, Any], explicit: Iterable[str] | None = None) -> Config:
        """A checked configuration of typed values; flags not named keep their defaults.

        ``arch`` follows ``task``, and ``spatial_pooling`` follows ``method``, if they are not named. Raises UsageError.
        """
        complete = {name: _known(name).check(value) for name, value in values.items()}
        complete["arch"] = complete.get("arch") or TASKS[complete.get("task", FLAGS["task"].default)].arch
        complete.setdefault(
            "spatial_pooling", METHODS[complete.get("method", FLAGS["method"].default)].pooling
        )
        cfg = cls(**complete, explicit=frozenset(values if explicit is None else explicit))
        check_config(cfg)
        return cfg

    @classmethod
    def from_yaml(cls, path: str | Path) -> Config:
        """The configuration in a YAML file, such as an experiment's ``config.yml``. Raises UsageError."""
        return cls.from_values(read_yaml(path))

    def to_dict(self) -> dict[str, Any]:
        """Flag names to values, plain types, in the table's order."""
        return {name: getattr(self, name) for name in FLAGS}

    def to_yaml(self) -> str:
        """All effective flags; ``from_yaml`` reads them back."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    def replace(self, **values: Any) -> Config:
        """A checked copy with other values; ``explicit`` stays. Raises UsageError."""
        return Config.from_values(_override(self.to_dict(), values), self.explicit)


_FOLLOWERS = (("task", "arch"), ("method", "spatial_pooling"))
_ALIASES = {"local-rank": "local_rank"}  # older torch.distributed launchers write it so


def parse_args(argv: Sequence[str], program: str = "[torchrun ...] main.py") -> Config:
    """Configuration from a command line; the help calls it ``program``.

    Raises UsageError with one line; prints the help and raises SystemExit(0) for ``--help``.
    """
    if any(token in ("-h", "--help") for token in argv):
        with suppress(BrokenPipeError):  # the reader, such as head, stopped reading before the end
            print(help_text(program))
        raise SystemExit(0)
    typed = command_line_values(argv)
    from_file = read_yaml(typed["config"]) if typed.get("config") else {}
    return Config.from_values(_override(from_file, typed))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Typed values of a YAML file of ``flag: value`` lines. Raises UsageError naming file, line and key."""
    root = compose_yaml(Path(path), f"--config {path}")
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise UsageError(f"--config {path}: expected lines of the form 'flag: value'")
    values = {}
    for key, value in root.value:
        source = f"{path}, line {key.start_mark.line + 1}: "
        if not isinstance(key, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
            raise UsageError(f"{source}expected one flag with one value")
        values[key.value] = convert(key.value, value.value, source)
    return values


def saved_flags(path: Path) -> dict[str, Any] | None:
    """The values in a ``config.yml``, unchecked, spelled as this version does; None: it cannot be read."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    return spelled(found) if isinstance(found, dict) else None


def compose_yaml(path: Path, title: str) -> yaml.Node | None:
    """The nodes of a YAML file; None: it is empty. Raises UsageError, which calls the file ``title``."""
    try:
        return yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise UsageError(f"{title}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        reason = shorten(" ".join(str(error).split()), 200)
        raise UsageError(f"{title}: not valid YAML ({reason})") from None


def command_line_values(argv: Sequence[str]) -> dict[str, Any]:
    """Typed values of ``--name value`` and ``--name=value`` words. Raises UsageError."""
    # Not argparse: it takes values such as -2e-09 or -name for flags, and says so without what was expected.
    values = {}
    tokens = iter(argv)
    for token in tokens:
        if not token.startswith("--") or token == "--":
            raise UsageError(f"{shorten(token)!r} is not a flag: write --flag value or --flag=value")
        name, equals, text = token[2:].partition("=")
        name = _ALIASES.get(name, name)
        expected = _known(name).expected
        if not equals:
            following = next(tokens, None)
            if following is None or following.startswith("--"):
                raise UsageError(f"--{name}: a value is missing, expected {expected}")
            text = following
        values[name] = convert(name, text)
    return values


def command_line_words(values: Mapping[str, Any]) -> list[str]:
    """Words ``--name value``, which `command_line_values` reads back."""
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def _known(name: str, source: str = "") -> Flag:
    """The flag called ``name``; else UsageError, which names the most similar flag or the task of a foreign one."""
    if name in FLAGS:
        return FLAGS[name]
    refuse_foreign_flag(name, source)
    shown = shorten(name if name.isprintable() else ascii(name))
    guess = nearest(f"--{shown}", (f"--{flag}" for flag in FLAGS))
    hint = f"did you mean {guess}?" if guess else "--help lists them all"
    raise UsageError(f"{source}unknown flag --{shown}; {hint}")


def convert(name: str, text: str, source: str = "") -> Any:
    """Value of the flag ``name`` in ``text``. Raises UsageError, which says that it was found at ``source``."""
    flag = _known(name, source)
    if name == "task":
        refuse_foreign_task(text, source)
    return flag.convert(text, source)


def _override(base: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``new`` values; a value that follows from a newly given flag is not copied from ``base``."""
    stale = {follower for leader, follower in _FOLLOWERS if leader in new}
    return {**{name: value for name, value in base.items() if name not in stale}, **new}


def get_root_wsol_dataset() -> str | Path:
    """Folder of the datasets when ``--data_root`` is not given: $DATASETSH, else ./datasets.

    You may edit this function. It may have one parameter, which then gets the flags (``args.dataset``), and must
    return a str or a Path.
    """
    return os.environ.get("DATASETSH") or "datasets"


def datasets_root(args: Any) -> Path:
    """``args.data_root``, else what `get_root_wsol_dataset` says. Raises UserError if that says nothing usable."""
    if args.data_root:
        return Path(args.data_root)
    function: Callable[..., Any] = get_root_wsol_dataset
    name = f"{function.__name__}() in {__file__}"
    try:
        takes_flags = bool(inspect.signature(function).parameters)
        found = function(args) if takes_flags else function()
    except Exception as error:
        reason = shorten(" ".join(f"{type(error).__name__}: {error}".split()), 200)
        raise UserError(f"{name} fails ({reason}): correct it, or give --data_root") from error
    if not isinstance(found, (str, Path)) or not str(found).strip():
        raise UserError(
            f"{name} returns {shorten(repr(found))}: it must return the datasets' folder, a str or Path; "
            "or give --data_root"
        )
    return Path(found)


def dataset_dir(cfg: Config) -> Path:
    """Folder of the dataset's frames. Raises UserError that says what was looked for and how to get it."""
    root = datasets_root(cfg)
    candidates = [root / cfg.dataset, root / "wsol-done-right" / cfg.dataset]
    return _first_folder(candidates, f"dataset {cfg.dataset}", "--data_root or DATASETSH", cfg.dataset)


def metadata_dir(cfg: Config) -> Path:
    """Folder of the dataset's folds (it holds train/, val/, test/). Raises UserError if there is none."""
    root = Path(cfg.metadata_root)
    candidates = [root / cfg.dataset, *([root] if (root / "train").is_dir() else [])]
    return _first_folder(candidates, f"folds of dataset {cfg.dataset}", "--metadata_root", cfg.dataset)


def experiment_name(cfg: Config) -> str:
    """Name of the experiment's own folder."""
    return (
        f"id_{cfg.exp_id}-tsk_{cfg.task}-ds_{cfg.dataset}-mth_{cfg.method}-spooling_{cfg.spatial_pooling}"
        f"-sd_{cfg.MYSEED}-ecd_{cfg.encoder_name}-box_v2_metric_{cfg.box_v2_metric}"
    )


def experiment_dir(cfg: Config) -> Path:
    """Folder of all that the run writes (not created here); a folder that an earlier version started is kept."""
    above = (cfg.exps_root, cfg.debug_subfolder, cfg.dataset, cfg.encoder_name, cfg.task)
    return as_it_lies(cfg, lambda named: Path(*above, named.method, experiment_name(named)))


def model_tag(cfg: Config, criterion: str) -> str:
    """Folder name of the best model by ``criterion``, in the experiment and in ``pretrained_root``."""
    return (
        f"{cfg.dataset}-{cfg.encoder_name}-{cfg.method}-{cfg.spatial_pooling}-cp_{criterion}"
        f"-boxv2_{cfg.box_v2_metric}"
    )


def model_folder(root: Path, cfg: Config, criterion: str) -> Path:
    """Folder of the best model by ``criterion`` in ``root``, an experiment or ``pretrained_root``."""
    return as_it_lies(cfg, lambda named: root / model_tag(named, criterion))


def as_it_lies(cfg: Config, place: Callable[[Config], Path]) -> Path:
    """``place(cfg)``, or an existing folder whose name is the same with an earlier spelling of a CAM method."""
    named = [
        dataclasses.replace(cfg, method=method, seed_cam_method=seeds)
        for method, seeds in itertools.product(spellings(cfg.method), spellings(cfg.seed_cam_method))
    ]
    folders = [place(other) for other in named]
    # os.path: a name that the file system cannot hold counts as a missing folder, not as an error.
    return next((folder for folder in folders if os.path.isdir(folder)), folders[0])


def _first_folder(candidates: list[Path], what: str, flags: str, dataset: str) -> Path:
    for folder in candidates:
        if folder.is_dir():
            return folder
    remedy = (
        "python -m dlib.datasets.import_videos makes one of your own videos, cmds/demo.sh the synthetic one"
    )
    if dataset in (YTOV1, YTOV2):
        remedy = f"cmds/download-{dataset}.sh gets it"
    looked = " and ".join(str(folder) for folder in candidates)
    raise UserError(f"{what} not found: looked for {looked} ({flags} moves it); {remedy}")
