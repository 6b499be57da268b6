"""The architecture in PyTorch: a small convolutional network for the image, joined by the terms."""

import torch
from torch import nn

PIXEL_MAX = 16.0
PRICE_MAX = 10.0
AMOUNT_MAX = 90.0
HIDDEN = 64


class OrderForm(nn.Module):
    """Takes (batch, 8, 8, 1) pixels 0 to 16 and (batch, 2) price and discount.

    Gives (batch, 10) logits of the quantity and (batch, 1) the amount to be paid.
    """

    scale: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.quantity = nn.Linear(32 * 2 * 2, 10)
        self.amount = nn.Sequential(
            nn.Linear(10 + 2, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1)
        )
        self.register_buffer("scale", torch.tensor([PRICE_MAX, 1.0]))

    def forward(self, image: torch.Tensor, terms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of the quantity, and the amount."""
        logits = self.quantity(self.image(image.permute(0, 3, 1, 2) / PIXEL_MAX))
        joined = torch.cat([logits.softmax(dim=1), terms / self.scale], dim=1)
        return logits, self.amount(joined) * AMOUNT_MAX
