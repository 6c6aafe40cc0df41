"""TimeGAN (Yoon, Jarrett, van der Schaar, NeurIPS 2019), as its authors' code trains it."""

from core.generators.timegan.model import TimeGAN

__all__ = ["TimeGAN"]
