"""The demonstration: claims in, scores out, watched from outside and audited."""

from stream.demonstration.report import Report
from stream.demonstration.show import Plan, Show

__all__ = ["Plan", "Report", "Show"]
