"""ExecuTorch programs for devices (`.pte`), and the lite interpreter's older `.ptl`, run in process."""
