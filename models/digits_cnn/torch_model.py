"""The architecture in PyTorch: three convolutions with batch normalisation, one linear layer."""

import torch
from torch import nn

PIXEL_MAX = 16.0
EPSILON = 1e-5


def conv_block(channels_in: int, channels_out: int) -> nn.Sequential:
    """Chain a 3x3 convolution that keeps the size, batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out, eps=EPSILON),
        nn.ReLU(),
    )


class DigitsCnn(nn.Module):
    """Takes (batch, 8, 8, 1) pixel values 0 to 16, gives (batch, 10) logits.

    The input is channels-last, the layout images arrive in and the Keras twin computes in: both roads then
    get the same request body, and the permutation here is a view, not a copy.
    """

    def __init__(self) -> None:
        super().__init__()
        self.block1 = conv_block(1, 16)
        self.block2 = conv_block(16, 32)
        self.block3 = conv_block(32, 64)
        self.pool = nn.MaxPool2d(2)
        self.classifier = nn.Linear(64 * 2 * 2, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch of images."""
        x = image.permute(0, 3, 1, 2) / PIXEL_MAX
        x = self.pool(self.block2(self.block1(x)))
        x = self.pool(self.block3(x))
        logits: torch.Tensor = self.classifier(torch.flatten(x, 1))
        return logits
