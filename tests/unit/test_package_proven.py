"""What of a build context was verified: every file of the artifact that is baked, and no other."""

from pathlib import Path

import numpy as np
import pytest
from manifest_fixture import manifest_of

from models.digits_cnn import MODEL
from pipelines.package.recipes import ModelParts, make_recipe
from pipelines.package.settings import read_settings
from pipelines.parity.quality import Expectation, Expectations


@pytest.fixture
def parts(tmp_path: Path) -> ModelParts:
    folder = tmp_path / "digits_cnn" / "tfserving"
    for name in ("digits_cnn/1/saved_model.pb", "digits_cnn/1/variables/v"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    manifest = manifest_of(folder, "digits_cnn/1")
    samples = MODEL.samples()
    expected = Expectations(
        {"logits": Expectation(np.zeros((len(samples), 10), np.float32), samples.labels, MODEL.tolerance)}
    )
    return ModelParts(MODEL, folder.parent, {"tfserving": manifest}, expected)


@pytest.mark.parametrize("key", ["tfserving", "tfserving-embedded"])
def test_every_file_of_the_artifact_is_held_to_its_digest(parts, key):
    recipe = make_recipe(key, parts, read_settings())
    baked = {name for name in recipe.files if name.startswith("models/")}
    assert baked == {"models/digits_cnn/1/saved_model.pb", "models/digits_cnn/1/variables/v"}
    assert recipe.proven == {
        f"models/{name}": digest for name, digest in parts.manifests["tfserving"].files.items()
    }
