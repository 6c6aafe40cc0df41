"""Checking snapshots before anything is made of them."""

from __future__ import annotations

from core.quality.validate import raise_if_failed, validate

__all__ = ["raise_if_failed", "validate"]
