"""What stands behind a backbone: regressed, denoised, or spoken actions."""
