"""The runs of this room: facts and traces with a teacher, facts from the motion alone."""

from __future__ import annotations

from finedata.annotate.run_facts import annotate_facts
from finedata.annotate.run_kinematic import annotate_kinematic
from finedata.annotate.run_traces import annotate_traces

__all__ = ["annotate_facts", "annotate_kinematic", "annotate_traces"]
