"""Tables, curves and one HTML page, from records alone. No Lightning, no torch."""

from lightning_smooth.report.command import main
from lightning_smooth.report.write import ReportFiles, write_report

__all__ = ["ReportFiles", "main", "write_report"]
