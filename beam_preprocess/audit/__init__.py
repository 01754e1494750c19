"""An audit of labelled audio: what is there twice, what leaks across a split, and what is wrong with single tracks."""
