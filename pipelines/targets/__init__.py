"""One folder per way to deploy a model, the same file names in each, imported only when used."""
