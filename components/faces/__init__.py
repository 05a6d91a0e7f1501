"""Clips become faces: frames are read, faces found, aligned, and kept in a lossless table."""
