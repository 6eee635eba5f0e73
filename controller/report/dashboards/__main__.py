"""Writes the dashboards."""

from controller.report.dashboards import FOLDER, documents

FOLDER.mkdir(parents=True, exist_ok=True)
for name, text in documents().items():
    (FOLDER / name).write_text(text, encoding="utf-8")
