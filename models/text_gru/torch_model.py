"""The architecture in PyTorch: an embedding of characters, one recurrent layer, the mean of its states."""

import torch
from torch import nn

CHARACTERS = 128
WIDTH = 24
HIDDEN = 48
KINDS = 3


class TextGru(nn.Module):
    """Takes (batch, length) character codes 0 to 127, of any length, gives (batch, 3) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CHARACTERS, WIDTH)
        self.recurrent = nn.GRU(WIDTH, HIDDEN, batch_first=True)
        self.classifier = nn.Linear(HIDDEN, KINDS)

    def forward(self, characters: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch of lines of one length."""
        states, _ = self.recurrent(self.embedding(characters))
        logits: torch.Tensor = self.classifier(states.mean(dim=1))
        return logits
