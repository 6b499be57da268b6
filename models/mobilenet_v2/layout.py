"""What both frameworks build from: the table of MobileNetV2 at width 1.0, and the numbers they must share."""

from collections.abc import Iterator
from dataclasses import dataclass

SIDE = 96
CLASSES = 10
STEM_CHANNELS = 32
LAST_CHANNELS = 1280
EPSILON = 1e-5  # PyTorch's default; Keras' own is 1e-3
PIXEL_HALF = 127.5  # pixel values 0 to 255 become -1 to 1

# Rows of the paper's table 2: expansion factor, output channels, blocks, stride of the first block.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


@dataclass(frozen=True)
class Block:
    """One inverted residual: expand (1x1), filter each channel (3x3), project (1x1)."""

    number: int
    channels_in: int
    channels_out: int
    expansion: int
    stride: int

    @property
    def hidden(self) -> int:
        """Channels between expansion and projection."""
        return self.channels_in * self.expansion

    @property
    def expands(self) -> bool:
        """The first block has nothing to expand."""
        return self.expansion > 1

    @property
    def adds_input(self) -> bool:
        """Whether the block's input is added to its output."""
        return self.stride == 1 and self.channels_in == self.channels_out


def blocks() -> Iterator[Block]:
    """Yield the 17 inverted residuals in order, numbered from 1."""
    number, channels_in = 0, STEM_CHANNELS
    for expansion, channels_out, count, first_stride in STAGES:
        for position in range(count):
            number += 1
            yield Block(number, channels_in, channels_out, expansion, first_stride if position == 0 else 1)
            channels_in = channels_out
