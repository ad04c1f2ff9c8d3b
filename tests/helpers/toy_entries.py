"""The entries of the classes in toy_parts.py and toy_task.py: import this before anything makes flags of the tables."""

from __future__ import annotations

from dlib.configure.constants import ENCODERS, METHODS, POOLINGS, TASKS, CamMethod, TaskEntry
from dlib.configure.terms import TERMS, TermRow

TASKS["Toy"] = TaskEntry("helpers.toy_task:ToyTask", "UnetCoLoCAM")
ENCODERS["toy"] = "helpers.toy_parts:ToyEncoder"
POOLINGS["ToyHead"] = "helpers.toy_parts:ToyHead"
METHODS["ToyCAM"] = CamMethod("helpers.toy_parts:ToyCam", "ToyHead")
TERMS["toy_clc"] = TermRow(
    "toy_clc",
    title="Toy term",
    help="a term of a test",
    loss="helpers.toy_parts:ToyTerm",
    weight_flag="toy_clc_lambda",
    weight=0.5,
    end_flag="toy_clc_end_ep",
    options={"eps": "sizefg_tmp_clc_eps"},
)
