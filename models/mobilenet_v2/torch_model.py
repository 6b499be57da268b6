"""MobileNetV2 at width 1.0 in PyTorch; its tensors have the names and shapes of torchvision's."""

import torch
from torch import nn

from models.mobilenet_v2.layout import (
    CLASSES,
    EPSILON,
    LAST_CHANNELS,
    PIXEL_HALF,
    STEM_CHANNELS,
    Block,
    blocks,
)

DROPOUT = 0.2


def convolution(
    channels_in: int, channels_out: int, size: int, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """Make a convolution without bias, padded on both sides alike so that stride 1 keeps the size."""
    return nn.Conv2d(channels_in, channels_out, size, stride, padding=size // 2, groups=groups, bias=False)


def normalised(conv: nn.Conv2d) -> nn.Sequential:
    """Chain the convolution, batch normalisation and ReLU6."""
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels, eps=EPSILON), nn.ReLU6())


class InvertedResidual(nn.Module):
    """Expands, filters every channel on its own, projects without activation; may add its input."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        hidden = block.hidden
        expand = [normalised(convolution(block.channels_in, hidden, 1))] if block.expands else []
        self.conv = nn.Sequential(
            *expand,
            normalised(convolution(hidden, hidden, 3, block.stride, groups=hidden)),
            convolution(hidden, block.channels_out, 1),
            nn.BatchNorm2d(block.channels_out, eps=EPSILON),
        )
        self.adds_input = block.adds_input

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, channels_in, h, w) to (batch, channels_out, h / stride, w / stride)."""
        y: torch.Tensor = self.conv(x)
        return x + y if self.adds_input else y


class MobileNetV2(nn.Module):
    """Takes (batch, 96, 96, 3) pixel values 0 to 255, gives (batch, 10) logits.

    The input is channels-last, the layout images arrive in and the Keras twin computes in; the permutation
    is a view, and the convolutions keep computing channels-last behind it. Other sides than 96 work too.
    """

    def __init__(self) -> None:
        super().__init__()
        found = list(blocks())
        self.features = nn.Sequential(
            normalised(convolution(3, STEM_CHANNELS, 3, stride=2)),
            *(InvertedResidual(block) for block in found),
            normalised(convolution(found[-1].channels_out, LAST_CHANNELS, 1)),
        )
        self.classifier = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(LAST_CHANNELS, CLASSES))
        self.apply(_initialise)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch of images."""
        x = self.features(image.permute(0, 3, 1, 2) / PIXEL_HALF - 1)
        # What adaptive_avg_pool2d computes, without the change of strides it adds for channels-last tensors.
        x = x.mean((2, 3), keepdim=True)
        logits: torch.Tensor = self.classifier(torch.flatten(x, 1))
        return logits


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out")
    elif isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
