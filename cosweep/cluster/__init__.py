"""The machines that trials run on: Ray's clusters, on this machine or elsewhere."""
