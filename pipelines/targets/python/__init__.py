"""TorchScript behind the server that most teams write first: FastAPI on uvicorn."""
