"""The controller: one file per state or event, thin over a pure core. Runs in AWS Lambda."""
