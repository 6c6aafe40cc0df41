"""Widths that several generators choose alike."""

from __future__ import annotations

from core.prepare.channels.layout import Channels, width


def context_width(channels: Channels) -> int:
    """Of what is said once about a window: static values and condition."""
    return width(channels.static) + width(channels.condition)


def recurrent_width(hidden: int | None, channels: Channels) -> int:
    """`hidden`, or four times the channels of a step, as the TimeGAN paper's comparison has it."""
    return hidden or 4 * channels.features
