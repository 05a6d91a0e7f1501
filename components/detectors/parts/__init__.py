"""What several papers share: trunks, CLIP's tower, and weight matrices split by their singular values."""
