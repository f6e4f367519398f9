"""How the controller talks to AWS: one file per service, errors translated. Runs in Lambda."""
