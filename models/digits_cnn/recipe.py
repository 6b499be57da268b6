"""How this network is trained where two frameworks train it alike."""

from models.digits_cnn.data import train_samples
from models.recipe import Recipe

RECIPE = Recipe(samples=train_samples, epochs=30, learning_rate=3e-3)
