"""Data: metadata, frame sampling, the video dataset and its loaders; also the builders' command lines.

Nothing is imported here, so that the builders start without torch.
"""
