"""``--profile N``: PyTorch's profiler over N training steps."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from dlib.utils.logging import logger

SETTLING_STEPS = 5  # of a run before the profiler starts: libraries choose their kernels and caches fill
_ROWS = 20
TRACE = "profile.json.gz"


class StepProfile:
    """Records ``steps`` training steps of this process, writes a trace file and logs where the time goes.

    The trace opens in https://ui.perfetto.dev and in chrome://tracing. In it and in the table, the parts of the log's
    "time:" line are called ``step: network`` and so on.
    """

    def __init__(self, steps: int, folder: Path, device: torch.device) -> None:
        """``steps``: 0 records nothing."""
        self._folder, self._on_card = folder, device.type == "cuda"
        self._profiler: profile | None = None
        self._written = False
        if steps > 0:
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._on_card else [])]
            plan = schedule(wait=SETTLING_STEPS - 1, warmup=1, active=steps, repeat=1)
            self._profiler = profile(activities=activities, schedule=plan, on_trace_ready=self._write)
            self._profiler.start()

    def step(self) -> None:
        """Call it after every training step."""
        if self._profiler is not None:
            self._profiler.step()

    def close(self) -> None:
        """End the recording; call it at the end of the run, also if it is too short for all steps."""
        if self._profiler is None:
            return
        self._profiler.stop()
        self._profiler = None
        if not self._written:
            logger.warning(
                f"--profile: this run ended before {SETTLING_STEPS} steps and those to record were done"
            )

    def _write(self, recorded: profile) -> None:
        self._written = True
        path = self._folder / TRACE
        recorded.export_chrome_trace(str(path))
        order = "self_cuda_time_total" if self._on_card else "self_cpu_time_total"
        table = recorded.key_averages().table(sort_by=order, row_limit=_ROWS, max_name_column_width=60)
        logger.info(f"profile of training steps, also as a trace in {path}:\n{table}")
