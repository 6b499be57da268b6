"""TorchServe with what AOTInductor compiled of the model, in a `.pt2` package, in TorchScript's place."""
