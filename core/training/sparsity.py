"""An L1 penalty on chosen weights, lambda times the sum of their magnitudes.

`proximal`: after the optimiser's step each weight moves towards 0 by the learning rate times lambda and stops
there (soft-thresholding, the proximal operator of the penalty: Parikh and Boyd 2014, section 6.5.2). With plain
gradient steps this is ISTA, which converges to the minimum of loss + penalty, exact zeros included.

With Adam and RMSprop the same threshold, learning rate x lambda, is used, not divided by the root of the second
moment as the step is: the penalty is decoupled from the moments, as AdamW's decay is (Loshchilov and Hutter
2019). All weights then shrink at the same rate whatever the scale of their gradients, and where training comes
to rest is not the minimum of loss + penalty.

`subgradient`: lambda x sign(weight), 0 at 0, is added to the gradient. It passes through momentum and moments
and hardly ever reaches 0 exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from core.training.masks import matching


class L1:
    """The penalty.

    Args:
        model: The model whose weights are penalised.
        options: Section `training.l1`.

    Raises:
        ConfigError: a pattern fits no parameter.
    """

    def __init__(self, model: nn.Module, options: Mapping[str, Any]) -> None:
        parameters = dict(model.named_parameters())
        chosen = matching(parameters, options["parameters"], "training.l1.parameters")
        self.weight = float(options["weight"])
        self.proximal: bool = options["method"] == "proximal"
        self.parameters = {name: parameters[name] for name in chosen}
        self.chosen = {id(parameter) for parameter in self.parameters.values()}

    @torch.no_grad()
    def add_subgradient(self, parameters: Iterable[nn.Parameter]) -> None:
        """Before the step, for the method `subgradient`: weights that get a gradient get the penalty's, too."""
        ours = self._penalised(parameters)
        if ours and not self.proximal:
            gradients = [parameter.grad for parameter in ours if parameter.grad is not None]
            torch._foreach_add_(gradients, [parameter.sign() for parameter in ours], alpha=self.weight)

    @torch.no_grad()
    def shrink(self, parameters: Iterable[nn.Parameter], rate: float | Tensor) -> None:
        """After the step, for the method `proximal`: soft-threshold the weights that were moved.

        Args:
            parameters: Of one group.
            rate: Its learning rate, which a GPU is not waited for.
        """
        if self.proximal:
            for parameter in self._penalised(parameters):
                soft_threshold_(parameter, rate * self.weight)

    def zeros(self) -> dict[str, float]:
        """Share of exact zeros of each penalised parameter, in [0, 1], and of `all` together."""
        empty = torch.stack([(parameter == 0).sum() for parameter in self.parameters.values()]).tolist()
        sizes = [parameter.numel() for parameter in self.parameters.values()]
        shares = {name: count / size for name, count, size in zip(self.parameters, empty, sizes, strict=True)}
        return {**shares, "all": sum(empty) / sum(sizes)}

    def _penalised(self, parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
        return [p for p in parameters if id(p) in self.chosen and p.grad is not None]


def soft_threshold_(x: Tensor, threshold: float | Tensor) -> Tensor:
    """sign(x) max(|x| - threshold, 0), in place; a threshold of shape () may stay on its device."""
    return x.sub_(torch.clamp(x, -threshold, threshold))  # type: ignore[arg-type]
