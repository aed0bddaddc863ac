"""The report of an evaluation: `report.html`, `report.md`, `report.json` and `metrics.parquet`."""
