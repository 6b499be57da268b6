"""The architecture in PyTorch: standardisation by what was seen in training, two hidden layers, a sigmoid."""

import torch
from torch import nn

FEATURES = 30
HIDDEN = 32


class TabularMlp(nn.Module):
    """Takes (batch, 30) measurements in their own units, gives (batch, 1): how probably it is benign."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("deviation", torch.ones(FEATURES))
        self.layers = nn.Sequential(
            nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1)
        )

    def logits(self, measurements: torch.Tensor) -> torch.Tensor:
        """Return the probability's logit, (batch, 1)."""
        found: torch.Tensor = self.layers((measurements - self.mean) / self.deviation)
        return found

    def forward(self, measurements: torch.Tensor) -> torch.Tensor:
        """Return the probability that a sample is benign."""
        return torch.sigmoid(self.logits(measurements))
