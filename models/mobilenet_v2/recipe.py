"""How this network is trained where two frameworks train it alike: on images as they are, without dropout."""

from models.mobilenet_v2.data import train_samples
from models.recipe import Recipe

RECIPE = Recipe(samples=train_samples, epochs=8, learning_rate=2e-3, weight_decay=0.05)
