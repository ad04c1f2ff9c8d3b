"""From a folder of videos to overlays with boxes: all commands of the small-data recipe, one after the other."""
