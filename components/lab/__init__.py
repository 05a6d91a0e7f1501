"""The forgery lab: a small world of people, clips and forgeries, rendered from numpy or made from given portraits."""
