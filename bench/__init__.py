"""Benchmarks: what lineage promises in figures, measured side by side with what each is named
against. `python -m bench` takes minutes, `python -m bench --scale` two million organisms."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""
