"""The words that library functions and flags accept, each list in one place. Imports no torch.

A flag annotated with one of these has its words as choices, and mypy sees that its value is one of them.
"""

from __future__ import annotations

from typing import Literal

Backend = Literal["auto", "cpp", "torch"]
"""What computes a bilateral filter: C++ on the CPU, PyTorch anywhere; auto: C++ for CPU tensors."""

RoiMethod = Literal["roi_all", "roi_high_density", "largest"]
"""Which of Otsu's blobs are a CAM's region of interest."""

RoiMask = Literal["box", "region"]
"""Which part of the region foreground seeds are drawn from."""

WindowMode = Literal["instant", "before", "after", "before-after"]
"""Which frames of a shot around a frame belong to its window."""

SeedTechnique = Literal["seed_uniform", "seed_weighted"]
"""How foreground seeds are drawn from their candidates."""

LambdaStyle = Literal["constant", "adaptive"]
"""λ·L, or λ·L/|L|."""

JointInput = Literal["image", "deep_features", "cam_logits"]
"""The planes by which the joint CRF compares pixels."""

SampleStyle = Literal["before", "after", "before-after", "random"]
"""Which frames of a shot are drawn together."""

SampleDist = Literal["uniform", "gaussian", "interval"]
"""How the first frame (random: every frame) is drawn."""

BoxRule = Literal["colors", "threshold"]
"""What makes a box from a map: the frame's colours, or a threshold per class that validation chose."""

Colormap = Literal["heat", "jet", "turbo", "viridis", "gray"]
"""The colours of a drawn map."""
