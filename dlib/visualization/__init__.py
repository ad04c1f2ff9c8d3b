"""Pictures, curves and the report of an experiment; reads only the files that a run writes."""
