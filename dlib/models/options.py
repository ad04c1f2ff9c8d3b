"""What defines a network, without its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from dlib.poolings import HeadOptions

_HEAD = tuple(option.name for option in fields(HeadOptions))
_REQUIRED = ("encoder_name", "num_classes", "spatial_pooling")


@dataclass(frozen=True)
class ModelSettings:
    """Arguments of a network, by the names of the flags.

    Attributes:
        encoder_name: a name of ``dlib.configure.constants.ENCODERS``.
        num_classes: C >= 1.
        head: options of the classification head.
        in_channels: 3.
        scale_in: see ``CamClassifier``.
    """

    encoder_name: str
    num_classes: int
    head: HeadOptions = field(default_factory=HeadOptions)
    in_channels: int = 3
    scale_in: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values without nesting, as ``config_model.yaml`` holds them."""
        head = asdict(self.head)
        own = {option.name: getattr(self, option.name) for option in fields(self) if option.name != "head"}
        first = {name: own.pop(name) for name in ("encoder_name", "num_classes")}
        return first | head | own

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelSettings:
        """The counterpart of ``to_dict``; other keys are ignored. Raises ValueError for missing ones."""
        missing = [key for key in _REQUIRED if key not in values]
        if missing:
            raise ValueError(f"model settings lack {', '.join(missing)}")
        own = {option.name for option in fields(cls)} - {"head"}
        head = HeadOptions(**{name: values[name] for name in _HEAD if name in values})
        return cls(head=head, **{name: values[name] for name in own if name in values})
