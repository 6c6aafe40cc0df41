"""Flow matching (Liu, Gong and Liu 2023; Lipman et al. 2023) over whole windows."""

from core.generators.flow_matching.model import FlowMatching

__all__ = ["FlowMatching"]
