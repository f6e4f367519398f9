"""What runs on the EC2 machine of a run: bootstrap, supervisor, worker. Runs on the instance."""
