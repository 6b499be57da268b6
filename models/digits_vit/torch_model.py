"""The architecture in PyTorch: patches of 2x2 pixels, two transformer blocks, the mean of all patches."""

import torch
from torch import nn
from torch.nn import functional

PIXEL_MAX = 16.0
PATCH = 2
SIDE = 8
WIDTH = 48
HEADS = 4
BLOCKS = 2
EPSILON = 1e-5


class Attention(nn.Module):
    """Multi-head self-attention over (batch, patches, width)."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mix into every patch what it takes from all others; the shape stays the same."""
        patches = x.shape[1]
        parts = self.qkv(x).reshape(-1, patches, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        found = functional.scaled_dot_product_attention(query, key, value)
        mixed: torch.Tensor = self.out(found.transpose(1, 2).reshape(-1, patches, WIDTH))
        return mixed


class Block(nn.Module):
    """Attention and a two-layer perceptron, each behind a layer normalisation and beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.attention = Attention()
        self.norm2 = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply attention and the MLP; the shape stays the same, (batch, patches, width)."""
        x = x + self.attention(self.norm1(x))
        mixed: torch.Tensor = x + self.mlp(self.norm2(x))
        return mixed


class DigitsVit(nn.Module):
    """Takes (batch, 8, 8, 1) pixel values 0 to 16, gives (batch, 10) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, WIDTH, PATCH, stride=PATCH)
        self.position = nn.Parameter(0.02 * torch.randn(1, (SIDE // PATCH) ** 2, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.classifier = nn.Linear(WIDTH, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch of images."""
        x = self.patches(image.permute(0, 3, 1, 2) / PIXEL_MAX).flatten(2).transpose(1, 2)
        x = self.norm(self.blocks(x + self.position))
        logits: torch.Tensor = self.classifier(x.mean(dim=1))
        return logits
