"""Published truths rerun: what dnnc's own models say beside what others measured or printed, one file a truth."""
