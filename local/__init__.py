"""The embedded cloud: the whole system on one computer, with no AWS account. Runs on a person's machine only."""
